/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap beside --guard: run by a timer, apart from novasnapd's life. Brings the broker into the
 * state that the state file says, since RabbitMQ 3.10 loses transient exchanges and their bindings
 * at a restart. Gives the requests back to nova-compute when novasnapd has been away for
 * beside_away: it does not consume its queue, or does not answer there (a process that is stopped
 * still counts as a consumer). It never takes them again: novasnapd does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <glib/gstdio.h>

#include "agent/beside/handover-step.h"
#include "agent/command/beside-common.h"
#include "agent/command/beside-parts.h"
#include "rpc/beside-look.h"

#define AWAY_FILE "journal/beside-away"
#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define LOCK_S 1
#define ECHO_S 5
#define PING_S 2
#define NOT_AWAY (-1)

static int64_t now_s(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec;
}

/* Notes that novasnapd is away or not. Returns for how many seconds it has been away by the notes
 * of earlier runs since this boot; NOT_AWAY: it is not. */
static int64_t note_presence(const struct config *config, bool present)
{
	g_autofree char *path = g_build_filename(config->state_dir, AWAY_FILE, NULL);
	g_autofree char *boot = NULL;
	g_autofree char *noted = NULL;
	g_autofree char *text = NULL;
	g_autoptr(GError) error = NULL;

	if (present) {
		(void)g_unlink(path);
		return NOT_AWAY;
	}
	if (g_file_get_contents(BOOT_ID, &boot, NULL, NULL))
		g_strchomp(boot);
	if (g_file_get_contents(path, &noted, NULL, NULL) && boot &&
	    g_str_has_prefix(noted, boot)) {
		int64_t since = g_ascii_strtoll(noted + strlen(boot), NULL, 10);

		return MAX(0, now_s() - since);
	}
	text = g_strdup_printf("%s %" G_GINT64_FORMAT "\n", boot ? boot : "", now_s());
	if (!g_file_set_contents(path, text, -1, &error))
		g_warning("%s", error->message);
	return 0;
}

static bool is_present(const struct config *config, const struct rpc_beside_objects *objects)
{
	struct rpc_beside_answer answer;

	return objects->queue.consumers > 0 &&
	       rpc_beside_control(&config->rpc, RPC_BESIDE_TYPE_ECHO, NULL, ECHO_S, &answer,
				  NULL) == 0;
}

/* Returns the exit status: EXIT_FAILURE if the operator must do something. */
static int report_old_config(const struct config *config)
{
	struct rpc_beside_ping ping;

	if (rpc_beside_ping(&config->rpc, RPC_BESIDE_REQUESTS, PING_S, &ping, NULL) < 0 ||
	    ping.answers < 2)
		return EXIT_SUCCESS;
	(void)fprintf(stderr,
		      "novasnap beside: nova-compute got each request twice: it was restarted with "
		      "its old configuration; add the line [DEFAULT]control_exchange = %s.%s, and "
		      "restart it\n",
		      config->rpc.control_exchange, config->rpc.host);
	return EXIT_FAILURE;
}

static void report_loss(const struct rpc_beside_objects *objects)
{
	if (!objects->exchange || !objects->notification_exchange || !objects->queue.exists)
		(void)fprintf(stderr,
			      "novasnap beside: the broker has lost the %s: making it "
			      "again\n",
			      objects->queue.exists ? "exchange" : "queue");
}

/* The requests are taken. Returns the exit status, or -1 with an error. */
static int guard_taken(const struct config *config, struct beside_state *state,
		       const struct rpc_beside_objects *objects, GError **error)
{
	bool present = is_present(config, objects);
	int64_t away_s = note_presence(config, present);
	int status = EXIT_SUCCESS;

	if (away_s >= (int64_t)config->beside_away_s) {
		(void)fprintf(stderr,
			      "novasnap beside: novasnapd has not worked for %" G_GINT64_FORMAT
			      " s: giving the requests for this host back to nova-compute\n",
			      away_s);
		return handover_give_back(config, state, error) < 0 ? -1 : EXIT_SUCCESS;
	}
	if (present)
		status = report_old_config(config);
	/* An interrupted --enable may not have come that far. */
	if (state->stage == BESIDE_ENABLED && handover_restore(config, state, error) < 0)
		return -1;
	return status;
}

/* The requests are given back. */
static int guard_given_back(const struct config *config, struct beside_state *state, GError **error)
{
	(void)note_presence(config, true);
	return handover_restore(config, state, error) < 0 ? -1 : EXIT_SUCCESS;
}

static int guard_locked(const struct config *config, GError **error)
{
	struct rpc_beside_objects objects;
	struct beside_state state;

	if (beside_state_read(config->state_dir, &state, error) < 0)
		return -1;
	/* After the first step of a removal that was interrupted, only --disable goes on. */
	if (state.stage == BESIDE_OFF || state.stage == BESIDE_REMOVING)
		return EXIT_SUCCESS;
	if (handover_check_exchange(config, &state, error) < 0 ||
	    rpc_beside_look(&config->rpc, &objects, error) < 0)
		return -1;
	report_loss(&objects);
	if (state.given_back && state.stage != BESIDE_ENABLING)
		return guard_given_back(config, &state, error);
	return state.given_back ? EXIT_SUCCESS : guard_taken(config, &state, &objects, error);
}

int beside_guard(const struct config *config)
{
	g_autoptr(GError) error = NULL;
	int lock = beside_lock(config->state_dir, LOCK_S, &error);
	int status;

	/* --enable, --disable or novasnapd is at work. */
	if (lock < 0 && g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_AGAIN))
		return EXIT_SUCCESS;
	/* novasnapd has never run here. */
	if (lock < 0 && g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
		return EXIT_SUCCESS;
	if (lock < 0)
		return beside_fail(error);
	status = guard_locked(config, &error);
	beside_unlock(lock);
	return status < 0 ? beside_fail(error) : status;
}
