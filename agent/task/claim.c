/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See claim.h.
 */
#include "agent/task/claim.h"

#include "agent/task/facts.h"
#include "agent/task/release.h"
#include "agent/task/report.h"
#include "agent/task/want.h"

#define PAUSE_MS 2000
/* How long it is tried while conductor, image store, libvirt or journal do not answer. */
#define UNANSWERED_S (24 * 3600LL)
/* The same while the conductor answers with an error, for example because its database is down. */
#define ERROR_S 600

/* The facts that are journaled for an unclaimed job, too. */
static bool is_fact_of_unclaimed(const struct journal_step *step)
{
	static const char *const words[] = {FACT_FAILURE, FACT_FAULT_SENT, FACT_FAULT_REPORTED,
					    FACT_STOPPED};
	g_auto(GStrv) parts = g_strsplit(step->name, " ", 2);

	for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
		if (g_strcmp0(parts[0], words[i]) == 0)
			return true;
	}
	return false;
}

/* A process of the mode exclusive journals no claim, but every other step. */
static bool was_claimed(const struct journal_job *left)
{
	for (guint i = 0; left && i < left->steps->len; i++) {
		if (!is_fact_of_unclaimed(left->steps->pdata[i]))
			return true;
	}
	return false;
}

bool claim_is_due(const struct task *task)
{
	const struct config *config = task->agent->config;

	return config->beside && config->control && task->method->claim_state &&
	       !nova_instance_is_plain(task->instance) && !task->is_claimed &&
	       !was_claimed(task->recovered_job);
}

/* One attempt to claim. */
struct claim {
	struct task *task;
	/* A save was sent, by this or an earlier process, and it is unknown whether it was done. */
	bool may_be_saved;
	bool is_cleared; /* the task state of nova-api was cleared, and the snapshot is wanted */
};

enum verdict {
	VERDICT_OURS,
	VERDICT_TAKEN,
	VERDICT_FAILED,	    /* no other attempt may succeed */
	VERDICT_UNANSWERED, /* an error is set */
	VERDICT_REFUSED,    /* the conductor has answered with an error, which is set */
	VERDICT_AGAIN,	    /* with is_cleared */
};

static enum verdict set_taken(const struct claim *claim, const char *why, GError **error)
{
	const struct task *task = claim->task;

	g_set_error(error, RPC_ERROR, RPC_ERROR_UNEXPECTED_TASK_STATE,
		    "%s for image %s is left to nova-compute: %s", task->method->name,
		    task->image_id, why);
	return VERDICT_TAKEN;
}

static enum verdict verdict_of_error(const GError *error)
{
	return rpc_error_is_unanswered(error) ? VERDICT_UNANSWERED : VERDICT_REFUSED;
}

/* nova-compute's event of the request: an enum nova_event, or -1 with an error. */
static int find_nova_event(const struct claim *claim, GError **error)
{
	const struct task *task = claim->task;

	return nova_conductor_event_find(task->agent->rpc, task->context, task->release,
					 nova_instance_uuid(task->instance), task->method->event,
					 error);
}

/* The instance is in the first task state, and a save of it may have been ours. */
static enum verdict find_owner(const struct claim *claim, GError **error)
{
	g_autoptr(GError) local = NULL;
	int begun = find_nova_event(claim, &local);

	if (begun == NOVA_EVENT_LIVE)
		return set_taken(claim, "the request's event shows that it has begun it", error);
	/* A nova-compute whose save was refused has failed. */
	if (begun >= 0)
		return VERDICT_OURS;
	g_propagate_error(error, g_steal_pointer(&local));
	return verdict_of_error(*error);
}

/* The instance has no task state: nova-compute clears it when it starts. */
static enum verdict check_wanted(struct claim *claim, GError **error)
{
	g_autoptr(GError) local = NULL;
	int begun;

	switch (snapshot_want(claim->task, false)) {
	case WANT_NO:
		return set_taken(claim,
				 "the instance has no task state, and the image does not wait for "
				 "data or the guest is not on this host",
				 error);
	case WANT_UNKNOWN:
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_TIMEOUT,
				    "it is unknown whether the snapshot is still wanted: image "
				    "store or libvirt do not answer");
		return VERDICT_UNANSWERED;
	case WANT_YES:
	default:
		break;
	}
	begun = find_nova_event(claim, &local);
	if (begun == NOVA_EVENT_LIVE || begun == NOVA_EVENT_FAILED)
		return set_taken(
			claim, "it began the request, and the task state was cleared since", error);
	if (begun < 0) {
		g_propagate_error(error, g_steal_pointer(&local));
		return verdict_of_error(*error);
	}
	g_message("instance %s: its task state was cleared by another process; image %s still "
		  "waits for data",
		  nova_instance_uuid(claim->task->instance), claim->task->image_id);
	claim->is_cleared = true;
	return VERDICT_AGAIN;
}

static enum verdict classify_refusal(struct claim *claim, const GError *refusal, GError **error)
{
	const struct task *task = claim->task;
	const char *actual = rpc_failure_actual_task_state(refusal);
	g_autofree char *why = NULL;

	if (actual && claim->may_be_saved && g_str_equal(actual, task->method->claim_state))
		return find_owner(claim, error);
	if (actual && *actual == '\0' && !claim->is_cleared)
		return check_wanted(claim, error);
	/* nova has an error of its own only for "deleting", not for "soft-deleting". nova-compute
	 * has not begun the request, or fails at its next save. */
	if (nova_task_state_is_deleting(actual)) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_UNEXPECTED_DELETING_TASK_STATE,
			    "the instance is being deleted: %s", refusal->message);
		return VERDICT_FAILED;
	}
	why = g_strdup_printf("the instance is in the task state %s", !actual	? "(unknown)"
								      : *actual ? actual
										: "none");
	return set_taken(claim, why, error);
}

static enum verdict try_claim(struct claim *claim, GError **error)
{
	struct task *task = claim->task;
	const struct task_method *method = task->method;
	g_autofree char *or_none = g_strconcat(",", method->claim_expected, NULL);
	g_autoptr(GError) local = NULL;

	nova_instance_set_task_state(task->instance, method->claim_state);
	if (report_save_once(task, method->claim_state,
			     claim->is_cleared ? or_none : method->claim_expected, &local) == 0)
		return VERDICT_OURS;
	if (g_error_matches(local, RPC_ERROR, RPC_ERROR_UNEXPECTED_TASK_STATE))
		return classify_refusal(claim, local, error);
	g_propagate_error(error, g_steal_pointer(&local));
	if (g_error_matches(*error, RPC_ERROR, RPC_ERROR_INSTANCE_NOT_FOUND) ||
	    g_error_matches(*error, RPC_ERROR, RPC_ERROR_UNEXPECTED_DELETING_TASK_STATE))
		return VERDICT_FAILED;
	/* An error does not tell, either: for example the database's connection may be lost during
	 * the commit. */
	claim->may_be_saved = true;
	return verdict_of_error(*error);
}

/* Tries until the verdict is clear, the time is over, or novasnapd stops. */
static enum verdict try_until_clear(struct claim *claim, GError **error)
{
	gint64 began = g_get_monotonic_time();
	bool is_logged = false;

	for (;;) {
		g_autoptr(GError) local = NULL;
		enum verdict verdict = try_claim(claim, &local);
		gint64 limit_s = verdict == VERDICT_REFUSED ? ERROR_S : UNANSWERED_S;

		if (verdict == VERDICT_AGAIN)
			continue;
		if (verdict <= VERDICT_FAILED ||
		    g_get_monotonic_time() - began > limit_s * G_USEC_PER_SEC ||
		    !job_wait_despite_cancel(claim->task->job, PAUSE_MS)) {
			if (local)
				g_propagate_error(error, g_steal_pointer(&local));
			return verdict;
		}
		g_log(G_LOG_DOMAIN, is_logged ? G_LOG_LEVEL_INFO : G_LOG_LEVEL_MESSAGE,
		      "instance %s: saving the first task state: %s; trying again",
		      nova_instance_uuid(claim->task->instance), local->message);
		is_logged = true;
	}
}

/* The next process must know it before there is another effect. */
static int journal_claim(struct task *task, GError **error)
{
	gint64 until = g_get_monotonic_time() + UNANSWERED_S * G_USEC_PER_SEC;

	for (bool is_logged = false;; is_logged = true) {
		g_autoptr(GError) local = NULL;

		if (task->journal_job == 0 ||
		    journal_step_add(task->agent->journal, task->journal_job, FACT_CLAIMED, "",
				     &local) == 0)
			return 0;
		if (!is_logged)
			g_warning("instance %s: %s; %s waits until the journal can be written",
				  nova_instance_uuid(task->instance), local->message,
				  task->method->name);
		if (g_get_monotonic_time() > until ||
		    !job_wait_despite_cancel(task->job, PAUSE_MS)) {
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
	}
}

static enum claim_result accept_claim(struct task *task, GError **error)
{
	/* After a lost reply they are still marked. */
	nova_instance_forget_changes(task->instance);
	if (journal_claim(task, error) < 0)
		return CLAIM_FAILED;
	task->is_claimed = true;
	task->task_state = task->method->claim_state;
	g_info("instance %s: task state %s", nova_instance_uuid(task->instance), task->task_state);
	report_progress(task, "state", NULL, 0, 0, true);
	return CLAIM_OURS;
}

enum claim_result claim_take(struct task *task, GError **error)
{
	struct claim claim = {.task = task, .may_be_saved = task_was_begun(task)};
	g_autoptr(GError) local = NULL;

	task->step = "saving the first task state";
	release_find(task);
	switch (try_until_clear(&claim, &local)) {
	case VERDICT_OURS:
		return accept_claim(task, error);
	case VERDICT_TAKEN:
		g_propagate_error(error, g_steal_pointer(&local));
		return CLAIM_TAKEN;
	case VERDICT_UNANSWERED:
		/* nova-compute may have the request: nothing may be reported for it. */
		if (!job_is_stopping(task->job)) {
			(void)set_taken(&claim,
					local ? local->message : "the conductor did not answer",
					error);
			return CLAIM_TAKEN;
		}
		break;
	case VERDICT_FAILED:
	case VERDICT_REFUSED:
	case VERDICT_AGAIN:
	default:
		break;
	}
	g_propagate_error(error, g_steal_pointer(&local));
	return CLAIM_FAILED;
}
