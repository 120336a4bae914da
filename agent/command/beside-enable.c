/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap beside --enable. The order is that in which no request is lost, and none is executed
 * twice: novasnapd's queue is there and consumed before it is bound, and bound before
 * nova-compute's is unbound; novasnapd takes its methods out only after the marker that follows
 * that.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/beside/handover-step.h"
#include "agent/command/beside-common.h"
#include "agent/command/beside-parts.h"
#include "agent/daemon/status.h"
#include "rpc/beside-look.h"

#define CONSUMER_S 30
#define ANSWER_S 10
#define POLL_US (G_USEC_PER_SEC / 2)
/* One slice of waiting for nova-compute. */
#define OBSERVE_S 20

/* Returns novasnapd's process id by the status socket; -1 with an error. */
static int64_t ask_pid(const struct config *config, GError **error)
{
	cJSON *status = status_ask(config->state_dir, "status", NULL, error);
	const cJSON *pid = cJSON_GetObjectItemCaseSensitive(status, "pid");
	int64_t value = cJSON_IsNumber(pid) ? (int64_t)pid->valuedouble : -1;

	cJSON_Delete(status);
	if (value < 0)
		g_prefix_error(error, "start novasnapd first (systemctl start novasnapd): ");
	return value;
}

/* Waits until novasnapd consumes its queue, and nobody else. */
static int wait_for_consumer(const struct config *config, int64_t pid, GError **error)
{
	gint64 until = g_get_monotonic_time() + CONSUMER_S * G_USEC_PER_SEC;
	struct rpc_beside_objects objects;
	struct rpc_beside_answer answer;

	for (;;) {
		if (rpc_beside_look(&config->rpc, &objects, error) < 0)
			return -1;
		if (objects.queue.consumers > 0 || g_get_monotonic_time() > until)
			break;
		g_usleep(POLL_US);
	}
	if (objects.queue.consumers != 1) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED,
			    objects.queue.consumers == 0
				    ? "novasnapd does not consume the queue novasnap.%s after "
				      "%d s; is its [novasnap]mode beside? See its log"
				    : "another process consumes the queue novasnap.%s: a novasnapd "
				      "with the same [DEFAULT]host? See `rabbitmqctl "
				      "list_consumers`",
			    config->rpc.host, CONSUMER_S);
		return -1;
	}
	if (rpc_beside_control(&config->rpc, RPC_BESIDE_TYPE_ECHO, NULL, ANSWER_S, &answer, error) <
	    0)
		return -1;
	if (answer.pid == pid)
		return 0;
	g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED,
		    "another process consumes the queue novasnap.%s: its novasnapd has the pid "
		    "%" G_GINT64_FORMAT ", this host's %" G_GINT64_FORMAT,
		    config->rpc.host, answer.pid, pid);
	return -1;
}

static int check_before(const struct config *config, const struct beside_state *state,
			bool *ret_exchange, GError **error)
{
	struct rpc_beside_objects objects;

	if (rpc_beside_look(&config->rpc, &objects, error) < 0)
		return -1;
	*ret_exchange = objects.exchange;
	if (objects.nova_queue.exists || objects.exchange || state->stage != BESIDE_OFF)
		return 0;
	g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED,
		    "nova-compute's queue %s.%s does not exist: has nova-compute run with this "
		    "[DEFAULT]host and transport_url?",
		    config->rpc.topic, config->rpc.host);
	return -1;
}

/* All steps at the broker. The stage is BESIDE_ENABLING. */
static int set_up(const struct config *config, struct beside_state *state, int64_t pid,
		  GError **error)
{
	if (beside_check_fault("beside-make", "before", error) < 0 ||
	    rpc_beside_make(&config->rpc, error) < 0 ||
	    beside_check_fault("beside-make", "after", error) < 0)
		return -1;
	printf("The exchange and the queue are there.\n");
	if (wait_for_consumer(config, pid, error) < 0 ||
	    beside_check_fault("beside-take", "before", error) < 0 ||
	    handover_take(config, state, error) < 0 ||
	    beside_check_fault("beside-take", "after", error) < 0)
		return -1;
	state->stage = BESIDE_ENABLED;
	if (beside_state_write(config->state_dir, state, error) < 0)
		return -1;
	printf("novasnapd gets the requests for this host.\n");
	return 0;
}

/* A first attempt leaves nothing. `exchange`: it existed before, so nova-compute may use it. The
 * queue may be the only one that gets the requests. */
static void undo(const struct config *config, struct beside_state *state, bool exchange,
		 GError **error)
{
	g_autoptr(GError) problem = NULL;

	if ((state->given_back || handover_give_back(config, state, &problem) == 0) &&
	    beside_remove(config, exchange, &problem) == 0)
		g_prefix_error(error, "nothing was changed: ");
	else
		g_prefix_error(error,
			       "the attempt could not be undone (%s); run --enable again, or "
			       "--disable: ",
			       problem->message);
}

static int enable_locked(const struct config *config, GError **error)
{
	int64_t pid = ask_pid(config, error);
	struct beside_state state;
	bool first, exchange;

	if (pid < 0)
		return -1;
	/* A damaged file is written again. */
	if (beside_state_read(config->state_dir, &state, NULL) < 0)
		state = (struct beside_state){.stage = BESIDE_ENABLING};
	if (handover_check_exchange(config, &state, error) < 0 ||
	    check_before(config, &state, &exchange, error) < 0)
		return -1;
	(void)g_strlcpy(state.exchange, config->rpc.control_exchange, sizeof(state.exchange));
	first = state.stage == BESIDE_OFF;
	if (state.stage != BESIDE_ENABLED) {
		state.stage = BESIDE_ENABLING;
		state.given_back = true;
	}
	if (beside_state_write(config->state_dir, &state, error) < 0)
		return -1;
	if (set_up(config, &state, pid, error) == 0)
		return 0;
	if (first)
		undo(config, &state, exchange, error);
	return -1;
}

static void print_line(const struct config *config)
{
	printf("nova-compute's configuration%s needs this line:\n\n"
	       "  [DEFAULT]\n  control_exchange = %s.%s\n\n"
	       "Only nova-compute may have it: where other services read the same file, put it "
	       "into one that\nonly nova-compute reads. Then restart nova-compute.\n",
	       config->nova_has_exchange ? " (it has it already)" : "",
	       config->rpc.control_exchange, config->rpc.host);
	(void)fflush(stdout);
}

/* Waits until nova-compute publishes on its exchange. */
static int wait_until_it_follows(const struct config *config, gint64 until,
				 enum rpc_beside_evidence *ret_seen, GError **error)
{
	enum rpc_beside_evidence latest;

	*ret_seen = RPC_BESIDE_UNSEEN;
	do {
		gint64 left_s = (until - g_get_monotonic_time()) / G_USEC_PER_SEC;

		if (rpc_beside_observe(&config->rpc, RPC_BESIDE_FOLLOWS,
				       (unsigned)CLAMP(left_s, 1, OBSERVE_S), &latest, error) < 0)
			return -1;
		*ret_seen = latest == RPC_BESIDE_UNSEEN ? *ret_seen : latest;
	} while (*ret_seen != RPC_BESIDE_FOLLOWS && g_get_monotonic_time() < until);
	return 0;
}

/* nova-compute asks the conductor long before it serves requests. Returns whether it consumes its
 * queue, or -1 with an error. */
static int wait_until_it_serves(const struct config *config, gint64 until, GError **error)
{
	struct rpc_beside_objects objects;

	for (;;) {
		if (rpc_beside_look(&config->rpc, &objects, error) < 0)
			return -1;
		if (objects.nova_queue.consumers > 0 || g_get_monotonic_time() > until)
			return objects.nova_queue.consumers > 0;
		g_usleep(POLL_US);
	}
}

static int wait_for_restart(const struct config *config, unsigned wait_s)
{
	gint64 until = g_get_monotonic_time() + wait_s * G_USEC_PER_SEC;
	enum rpc_beside_evidence seen;
	g_autoptr(GError) error = NULL;
	int serves;

	printf("Waiting for nova-compute for at most %u s. Ctrl-C does no harm.\n", wait_s);
	(void)fflush(stdout);
	if (wait_until_it_follows(config, until, &seen, &error) < 0)
		return beside_fail(error);
	if (seen != RPC_BESIDE_FOLLOWS) {
		(void)fprintf(stderr,
			      "novasnap beside: nova-compute %s; restart it with the line above, "
			      "and run --enable again\n",
			      seen == RPC_BESIDE_OLD_CONFIG
				      ? "still runs with its old configuration"
				      : "has not been seen yet");
		return EXIT_PENDING;
	}
	serves = wait_until_it_serves(config, until, &error);
	if (serves < 0)
		return beside_fail(error);
	if (!serves) {
		(void)fprintf(stderr,
			      "novasnap beside: nova-compute follows, but does not consume its "
			      "queue %s.%s yet; see its log, and run --enable again\n",
			      config->rpc.topic, config->rpc.host);
		return EXIT_PENDING;
	}
	printf("nova-compute follows. Done.\n");
	return EXIT_SUCCESS;
}

int beside_enable(const struct config *config, unsigned wait_s)
{
	g_autoptr(GError) error = NULL;
	int rc = beside_run_locked(config, enable_locked, &error);

	if (rc < 0)
		return beside_fail(error);
	print_line(config);
	return wait_for_restart(config, wait_s);
}
