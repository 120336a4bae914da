/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap beside --disable: --enable in the reverse order. The exchange is deleted only when
 * nova-compute does not use it any more, since a nova-compute whose exchange is gone stops working.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/beside/handover-step.h"
#include "agent/command/beside-common.h"
#include "agent/command/beside-parts.h"
#include "agent/journal/journal.h"
#include "rpc/beside-look.h"

#define ANSWER_S 10
#define DRAIN_S 60
#define POLL_US (G_USEC_PER_SEC / 2)
#define OBSERVE_S 20
/* A nova-compute that answers and publishes nothing for this long on its own exchange does not use
 * it: its periodic tasks call the conductor at least once a minute. */
#define SILENT_S 120
/* The queue has had no consumer for this long: nova-compute does not run. */
#define STOPPED_S 30

/* Jobs in the journal that novasnapd is still needed for. */
struct unfinished {
	unsigned open;	    /* not ended */
	unsigned leftovers; /* ended, with a step that is not undone */
};

static int wait_until_drained(const struct config *config, GError **error)
{
	gint64 until = g_get_monotonic_time() + DRAIN_S * G_USEC_PER_SEC;
	struct rpc_beside_objects objects;
	struct rpc_beside_answer answer;

	do {
		if (rpc_beside_look(&config->rpc, &objects, error) < 0)
			return -1;
		/* The answer comes after all earlier messages. */
		if (objects.queue.messages == 0 &&
		    (objects.queue.consumers == 0 ||
		     rpc_beside_control(&config->rpc, RPC_BESIDE_TYPE_ECHO, NULL, ANSWER_S, &answer,
					NULL) == 0))
			return 0;
		g_usleep(POLL_US);
	} while (g_get_monotonic_time() < until);
	g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED,
		    "novasnapd's queue still has messages after %d s (%u that wait, %u "
		    "consumers); nova-compute gets all new requests; run --disable again, or "
		    "restart novasnapd first",
		    DRAIN_S, objects.queue.messages, objects.queue.consumers);
	return -1;
}

/* The forwarding thread stops to take its methods out before requests are in both queues. Without
 * its answer the strict saves of the task state decide who makes such a snapshot. */
static void stop_intercepting(const struct config *config, const struct rpc_beside_objects *objects)
{
	struct rpc_beside_answer answer;
	g_autoptr(GError) error = NULL;

	if (objects->queue.consumers > 0 && rpc_beside_control(&config->rpc, RPC_BESIDE_TYPE_PASS,
							       NULL, ANSWER_S, &answer, &error) < 0)
		g_warning("%s; going on without", error->message);
}

/* Requests go to nova-compute, and the queue is empty. */
static int hand_back(const struct config *config, const struct rpc_beside_objects *objects,
		     GError **error)
{
	struct beside_state state;

	if (beside_state_read(config->state_dir, &state, NULL) < 0)
		state = (struct beside_state){.stage = BESIDE_OFF};
	if (handover_check_exchange(config, &state, error) < 0)
		return -1;
	state.stage = BESIDE_DISABLING;
	if (beside_state_write(config->state_dir, &state, error) < 0 ||
	    beside_check_fault("beside-pass", "before", error) < 0)
		return -1;
	stop_intercepting(config, objects);
	if (beside_check_fault("beside-give-back", "before", error) < 0 ||
	    handover_give_back(config, &state, error) < 0 ||
	    beside_check_fault("beside-give-back", "after", error) < 0)
		return -1;
	printf("nova-compute gets the requests for this host.\n");
	return wait_until_drained(config, error);
}

/* What one slice of waiting has shown. */
struct restart_watch {
	gint64 silent_since;  /* nothing was published on the exchange since then, monotonic us */
	gint64 stopped_since; /* nova-compute's queue has no consumer since then; 0: it has one */
};

static bool is_over(gint64 since, unsigned limit_s)
{
	return since != 0 && g_get_monotonic_time() - since >= limit_s * G_USEC_PER_SEC;
}

/* Returns 1 if nova-compute does not use its exchange any more, 0 if that is not known yet, -1 with
 * an error. */
static int watch_slice(const struct config *config, unsigned slice_s, struct restart_watch *watch,
		       GError **error)
{
	enum rpc_beside_evidence seen;
	struct rpc_beside_objects objects;
	struct rpc_beside_ping ping;

	if (rpc_beside_observe(&config->rpc, RPC_BESIDE_OLD_CONFIG, slice_s, &seen, error) < 0 ||
	    rpc_beside_look(&config->rpc, &objects, error) < 0)
		return -1;
	if (seen == RPC_BESIDE_OLD_CONFIG)
		return 1;
	if (seen == RPC_BESIDE_FOLLOWS)
		watch->silent_since = g_get_monotonic_time();
	if (seen == RPC_BESIDE_FOLLOWS || objects.nova_queue.consumers > 0)
		watch->stopped_since = 0;
	else if (watch->stopped_since == 0)
		watch->stopped_since = g_get_monotonic_time();
	if (is_over(watch->stopped_since, STOPPED_S)) {
		printf("nova-compute does not run. Start it only without the line.\n");
		return 1;
	}
	if (!is_over(watch->silent_since, SILENT_S))
		return 0;
	if (rpc_beside_ping(&config->rpc, RPC_BESIDE_DIRECT, ANSWER_S, &ping, error) < 0)
		return -1;
	return ping.answers > 0;
}

/* Returns 1, 0 or -1 as watch_slice. */
static int wait_for_restart(const struct config *config, unsigned wait_s, gint64 until,
			    GError **error)
{
	struct restart_watch watch = {.silent_since = g_get_monotonic_time()};
	int rc;

	printf("Remove this line from nova-compute's configuration, and restart nova-compute:\n\n"
	       "  [DEFAULT]\n  control_exchange = %s.%s\n\n"
	       "Waiting for it for at most %u s. Ctrl-C does no harm.\n",
	       config->rpc.control_exchange, config->rpc.host, wait_s);
	(void)fflush(stdout);
	do {
		gint64 left_s = (until - g_get_monotonic_time()) / G_USEC_PER_SEC;

		rc = watch_slice(config, (unsigned)CLAMP(left_s, 1, OBSERVE_S), &watch, error);
	} while (rc == 0 && g_get_monotonic_time() < until);
	return rc;
}

static int remove_locked(const struct config *config, GError **error)
{
	struct beside_state state;

	if (beside_state_read(config->state_dir, &state, error) < 0)
		return -1;
	if (state.stage != BESIDE_DISABLING && state.stage != BESIDE_REMOVING) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED,
			    "another `novasnap beside` has changed the stage to %s meanwhile",
			    beside_stage_name(state.stage));
		return -1;
	}
	if (beside_check_fault("beside-remove", "before", error) < 0)
		return -1;
	return beside_remove(config, false, error);
}

/* Counts what novasnapd still has to end: requests that it has taken, and steps of ended ones, such
 * as a saved guest. Returns 0, or -1 with an error. */
static int count_unfinished(const struct config *config, struct unfinished *ret_count,
			    GError **error)
{
	g_autofree char *path = g_build_filename(config->state_dir, "journal", "journal.db", NULL);
	g_autoptr(journal_t) journal = NULL;
	g_autoptr(GPtrArray) jobs = NULL;

	*ret_count = (struct unfinished){0};
	if (!g_file_test(path, G_FILE_TEST_EXISTS))
		return 0;
	journal = journal_open_to_read(config->state_dir, error);
	jobs = journal ? journal_list(journal, JOURNAL_UNFINISHED, 0, error) : NULL;
	for (guint i = 0; jobs && i < jobs->len; i++) {
		const struct journal_job *job = jobs->pdata[i];

		if (job->ended_at == 0)
			ret_count->open++;
		else
			ret_count->leftovers++;
	}
	return jobs ? 0 : -1;
}

static void print_unfinished(const struct unfinished *count)
{
	g_autoptr(GString) text = g_string_new("novasnapd ");

	if (count->open > 0)
		g_string_append_printf(text, "has taken %u request%s not ended", count->open,
				       count->open == 1 ? " that has" : "s that have");
	if (count->leftovers > 0)
		g_string_append_printf(text, "%shas not undone all steps of %u request%s ended",
				       count->open > 0 ? ", and " : "", count->leftovers,
				       count->leftovers == 1 ? " that has" : "s that have");
	(void)fprintf(stderr,
		      "novasnap beside: %s; keep it running, or start novasnapd again, until "
		      "`novasnap jobs --open` shows none\n",
		      text->str);
}

/* nova-compute does not get what novasnapd has taken, so novasnapd must end it. Returns the exit
 * status. */
static int wait_for_jobs(const struct config *config, gint64 until)
{
	g_autoptr(GError) error = NULL;
	struct unfinished count;
	int rc;

	while ((rc = count_unfinished(config, &count, &error)) == 0 &&
	       count.open + count.leftovers > 0 && g_get_monotonic_time() < until)
		g_usleep(POLL_US);
	if (rc < 0)
		return beside_fail(error);
	if (count.open + count.leftovers == 0)
		return EXIT_SUCCESS;
	print_unfinished(&count);
	return EXIT_PENDING;
}

/* Returns the exit status. */
static int remove_all(const struct config *config, gint64 until)
{
	g_autoptr(GError) error = NULL;

	if (beside_run_locked(config, remove_locked, &error) < 0)
		return beside_fail(error);
	printf("The queue and the exchange are deleted. Done.\n");
	(void)fflush(stdout);
	return wait_for_jobs(config, until);
}

/* Returns 1 if nothing is to be done, 0 if the requests are handed back, -1 with an error. */
static int disable_locked(const struct config *config, GError **error)
{
	struct rpc_beside_objects objects;
	struct beside_state state;
	bool known = beside_state_read(config->state_dir, &state, NULL) == 0;

	if (rpc_beside_look(&config->rpc, &objects, error) < 0)
		return -1;
	if (known && state.stage == BESIDE_OFF && !objects.queue.exists && !objects.exchange)
		return 1;
	return hand_back(config, &objects, error);
}

/* Whether novasnapd has never run on this host, and the broker has nothing of `novasnap beside`. */
static bool was_never_enabled(const struct config *config, const GError *error)
{
	struct rpc_beside_objects objects;

	return g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT) &&
	       rpc_beside_look(&config->rpc, &objects, NULL) == 0 && !objects.queue.exists &&
	       !objects.exchange;
}

int beside_disable(const struct config *config, unsigned wait_s)
{
	g_autoptr(GError) error = NULL;
	int rc = beside_run_locked(config, disable_locked, &error);
	gint64 until = g_get_monotonic_time() + wait_s * G_USEC_PER_SEC;

	if (rc < 0 && was_never_enabled(config, error))
		rc = 1;
	if (rc < 0)
		return beside_fail(error);
	if (rc > 0) {
		printf("novasnap is not enabled on this host.\n");
		(void)fflush(stdout);
		return wait_for_jobs(config, until);
	}
	rc = wait_for_restart(config, wait_s, until, &error);
	if (rc < 0)
		return beside_fail(error);
	if (rc > 0)
		return remove_all(config, until);
	(void)fprintf(stderr, "novasnap beside: nova-compute has not been restarted without the "
			      "line yet; it gets all requests; run --disable again after that\n");
	return EXIT_PENDING;
}
