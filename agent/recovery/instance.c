/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See instance.h.
 */
#include "agent/recovery/instance.h"

#define PAUSE_MS 2000
/* How long queries are retried while the conductor does not answer: the guest is not affected
 * meanwhile. */
#define UNANSWERED_S (24 * 3600LL)
/* The same while it answers with an error, for example because its database is down. */
#define ERROR_S 600

static gint64 deadline_after(gint64 seconds)
{
	return g_get_monotonic_time() + seconds * G_USEC_PER_SEC;
}

static int refresh_instance(struct task *task, bool despite_cancel, GError **error)
{
	gint64 unanswered_until = deadline_after(UNANSWERED_S), error_until = 0;
	bool (*wait)(struct job * job, unsigned ms) =
		despite_cancel ? job_wait_despite_cancel : job_wait;

	for (bool is_logged = false;; is_logged = true) {
		g_autoptr(GError) local = NULL;
		gint64 until;

		if (nova_conductor_instance_refresh(task->agent->rpc, task->context, task->instance,
						    &local) == 0)
			return 0;
		/* A conductor that comes back may need a while until its database does. */
		if (rpc_error_is_unanswered(local))
			error_until = 0;
		else if (error_until == 0)
			error_until = deadline_after(ERROR_S);
		until = error_until == 0 ? unanswered_until : MIN(error_until, unanswered_until);
		if (g_error_matches(local, RPC_ERROR, RPC_ERROR_INSTANCE_NOT_FOUND) ||
		    g_get_monotonic_time() > until || !wait(task->job, PAUSE_MS)) {
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
		g_log(G_LOG_DOMAIN, is_logged ? G_LOG_LEVEL_INFO : G_LOG_LEVEL_MESSAGE,
		      "instance %s: %s; querying the instance again", task->recovered_job->instance,
		      local->message);
	}
}

static bool is_state_of_method(const struct task *task, const char *state)
{
	g_auto(GStrv) states = g_strsplit(task->method->task_states, ",", -1);

	return g_strv_contains((const char *const *)states, state);
}

static enum instance_standing standing_by_state(const struct task *task, GError **error)
{
	const char *state = nova_instance_string(task->instance, "task_state");

	if (!task->method->task_states)
		return INSTANCE_WAITS;
	if (!state)
		return INSTANCE_IDLE;
	if (is_state_of_method(task, state))
		return INSTANCE_WAITS;
	if (nova_task_state_is_deleting(state)) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_UNEXPECTED_DELETING_TASK_STATE,
				    "novasnapd was interrupted during this request, and the "
				    "instance is now being deleted");
		return INSTANCE_DELETING;
	}
	g_set_error(error, RPC_ERROR, RPC_ERROR_UNEXPECTED_TASK_STATE,
		    "novasnapd was interrupted during this request, and the instance is now in "
		    "another task state: %s",
		    state);
	return INSTANCE_BUSY;
}

bool recovery_has_record(const struct task *task)
{
	return task->agent->config->control && !nova_instance_is_plain(task->instance);
}

enum instance_standing recovery_ask_instance(struct task *task, bool despite_cancel, GError **error)
{
	g_autoptr(GError) local = NULL;
	const char *host;

	if (!recovery_has_record(task))
		return INSTANCE_WAITS;
	if (refresh_instance(task, despite_cancel, &local) < 0) {
		bool is_gone = g_error_matches(local, RPC_ERROR, RPC_ERROR_INSTANCE_NOT_FOUND);

		g_propagate_error(error, g_steal_pointer(&local));
		return is_gone ? INSTANCE_GONE : INSTANCE_UNKNOWN;
	}
	host = nova_instance_string(task->instance, "host");
	if (g_strcmp0(host, task->agent->config->rpc.host) == 0)
		return standing_by_state(task, error);
	g_set_error(error, RPC_ERROR, RPC_ERROR_UNEXPECTED_TASK_STATE,
		    "novasnapd was interrupted during this request, and the instance is now on "
		    "another host: %s",
		    host ? host : "(none)");
	return INSTANCE_MOVED;
}
