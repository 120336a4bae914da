/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See claim.h.
 */
#include "agent/task/claim.h"

#include "agent/task/facts.h"
#include "agent/task/release.h"
#include "agent/task/report.h"
#include "agent/task/want.h"
#include "rpc/beside.h"

#define PAUSE_MS 2000
/* How long it is tried while conductor, image store, libvirt or journal do not answer. */
#define UNANSWERED_S (24 * 3600LL)
/* The same while the conductor answers each save with an error, for example because its database is
 * down. */
#define ERROR_S 600
/* A copy of the cast has reached a nova-compute that serves by then. */
#define COPY_S (3 * RPC_BESIDE_TTL_MS / 1000)

/* The attempts to claim a task. */
struct claim {
	struct task *task;
	/* A save was sent, by this or an earlier process, and it is unknown whether it was done. */
	bool may_be_saved;
	bool is_cleared; /* the task state of nova-api was cleared, and the snapshot is wanted */
	gint64 errors_since; /* each save was answered with an error, monotonic us; 0: not so */
};

enum verdict {
	VERDICT_OURS,
	VERDICT_TAKEN,
	VERDICT_FAILED,	 /* no other attempt may succeed, and nova-compute has not begun it */
	VERDICT_UNKNOWN, /* ask again later */
	VERDICT_AGAIN,	 /* at once; no error is set */
};

static enum verdict set_taken(const struct claim *claim, const char *why, GError **error)
{
	const struct task *task = claim->task;

	g_set_error(error, RPC_ERROR, RPC_ERROR_UNEXPECTED_TASK_STATE,
		    "%s for image %s is left to nova-compute: %s", task->method->name,
		    task->image_id, why);
	return VERDICT_TAKEN;
}

/* nova-compute's event of the request: an enum nova_event, or -1 with an error. */
static int find_nova_event(const struct claim *claim, GError **error)
{
	const struct task *task = claim->task;

	return nova_conductor_event_find(task->agent->rpc, task->context, task->release,
					 nova_instance_uuid(task->instance), task->method->event,
					 error);
}

/* VERDICT_OURS: nova-compute has not begun the request. */
static enum verdict ask_nova_event(struct claim *claim, GError **error)
{
	int begun = find_nova_event(claim, error);

	if (begun < 0)
		return VERDICT_UNKNOWN;
	if (begun != NOVA_EVENT_NONE)
		return set_taken(claim, "the request's event shows that it has begun it", error);
	return VERDICT_OURS;
}

/* nova-compute has not begun the request: then nobody else reports its failure and deletes its
 * image. But nova-compute may begin it soon, if the broker has given it a copy. */
static enum verdict fail_unclaimed(const struct claim *claim, const GError *why, GError **error)
{
	gint64 age = g_get_monotonic_time() - claim->task->created_at;

	if (g_error_matches(why, RPC_ERROR, RPC_ERROR_UNEXPECTED_TASK_STATE) &&
	    age < COPY_S * G_USEC_PER_SEC) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_TIMEOUT,
			    "%s; nova-compute may have a copy of the request", why->message);
		return VERDICT_UNKNOWN;
	}
	g_propagate_error(error, g_error_copy(why));
	return VERDICT_FAILED;
}

/* The instance has no task state: nova-compute clears it when it starts. */
static enum verdict check_wanted(struct claim *claim, const GError *refusal, GError **error)
{
	switch (snapshot_want(claim->task, false)) {
	case WANT_NO:
		return fail_unclaimed(claim, refusal, error);
	case WANT_UNKNOWN:
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_TIMEOUT,
				    "it is unknown whether the snapshot is still wanted: image "
				    "store or libvirt do not answer");
		return VERDICT_UNKNOWN;
	case WANT_YES:
	default:
		break;
	}
	g_message("instance %s: its task state was cleared by another process; image %s still "
		  "waits for data",
		  nova_instance_uuid(claim->task->instance), claim->task->image_id);
	claim->is_cleared = true;
	return VERDICT_AGAIN;
}

/* The instance is gone, or has another task state. */
static enum verdict classify_refusal(struct claim *claim, const GError *refusal, GError **error)
{
	const char *actual = rpc_failure_actual_task_state(refusal);
	bool may_be_ours =
		claim->may_be_saved && g_strcmp0(actual, claim->task->method->claim_state) == 0;
	int begun = find_nova_event(claim, error);

	if (begun < 0)
		return VERDICT_UNKNOWN;
	/* A nova-compute whose save was refused has failed. */
	if (may_be_ours && begun != NOVA_EVENT_LIVE)
		return VERDICT_OURS;
	if (begun != NOVA_EVENT_NONE)
		return set_taken(claim, refusal->message, error);
	if (actual && *actual == '\0' && !claim->is_cleared)
		return check_wanted(claim, refusal, error);
	/* nova has an error of its own only for "deleting", not for "soft-deleting". */
	if (nova_task_state_is_deleting(actual)) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_UNEXPECTED_DELETING_TASK_STATE,
			    "the instance is being deleted: %s", refusal->message);
		return VERDICT_FAILED;
	}
	return fail_unclaimed(claim, refusal, error);
}

/* An error does not tell whether the save was done, either: for example the database's connection
 * may be lost during the commit. */
static enum verdict classify_failure(struct claim *claim, const GError *failure, GError **error)
{
	gint64 now = g_get_monotonic_time();
	enum verdict verdict;

	claim->may_be_saved = true;
	if (rpc_error_is_unanswered(failure))
		claim->errors_since = 0;
	else if (claim->errors_since == 0)
		claim->errors_since = now;
	if (claim->errors_since == 0 || now - claim->errors_since < ERROR_S * G_USEC_PER_SEC) {
		g_propagate_error(error, g_error_copy(failure));
		return VERDICT_UNKNOWN;
	}
	verdict = ask_nova_event(claim, error);
	return verdict == VERDICT_OURS ? fail_unclaimed(claim, failure, error) : verdict;
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
	if (g_error_matches(local, RPC_ERROR, RPC_ERROR_UNEXPECTED_TASK_STATE) ||
	    g_error_matches(local, RPC_ERROR, RPC_ERROR_UNEXPECTED_DELETING_TASK_STATE) ||
	    g_error_matches(local, RPC_ERROR, RPC_ERROR_INSTANCE_NOT_FOUND))
		return classify_refusal(claim, local, error);
	return classify_failure(claim, local, error);
}

/* Tries until the verdict is clear, the time is over, or novasnapd stops. */
static enum verdict try_until_clear(struct claim *claim,
				    enum verdict (*attempt)(struct claim *claim, GError **error),
				    GError **error)
{
	gint64 until = g_get_monotonic_time() + UNANSWERED_S * G_USEC_PER_SEC;
	bool is_logged = false;

	for (;;) {
		g_autoptr(GError) local = NULL;
		enum verdict verdict = attempt(claim, &local);

		if (verdict == VERDICT_AGAIN)
			continue;
		if (verdict != VERDICT_UNKNOWN || g_get_monotonic_time() > until ||
		    !job_wait_despite_cancel(claim->task->job, PAUSE_MS)) {
			if (local)
				g_propagate_error(error, g_steal_pointer(&local));
			return verdict;
		}
		g_log(G_LOG_DOMAIN, is_logged ? G_LOG_LEVEL_INFO : G_LOG_LEVEL_MESSAGE,
		      "instance %s: %s: %s; trying again",
		      nova_instance_uuid(claim->task->instance), claim->task->step, local->message);
		is_logged = true;
	}
}

/* The next process must know it before there is another effect. */
static int journal_fact(struct task *task, const char *fact, GError **error)
{
	gint64 until = g_get_monotonic_time() + UNANSWERED_S * G_USEC_PER_SEC;

	for (bool is_logged = false;; is_logged = true) {
		g_autoptr(GError) local = NULL;

		if (task->journal_job == 0 ||
		    journal_step_add(task->agent->journal, task->journal_job, fact, "", &local) ==
			    0)
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
	if (journal_fact(task, FACT_CLAIMED, error) < 0)
		return CLAIM_FAILED;
	task->is_claimed = true;
	task->task_state = task->method->claim_state;
	g_info("instance %s: task state %s", nova_instance_uuid(task->instance), task->task_state);
	report_progress(task, "state", NULL, 0, 0, true);
	return CLAIM_OURS;
}

/* Takes ownership of `why`. */
static enum claim_result result_of_verdict(const struct claim *claim, enum verdict verdict,
					   GError *why, GError **error)
{
	g_autoptr(GError) local = why;

	/* nova-compute may have the request: nothing may be reported for it. */
	if (verdict == VERDICT_UNKNOWN && !job_is_stopping(claim->task->job))
		verdict = set_taken(claim, local ? local->message : "the conductor did not answer",
				    error);
	else
		g_propagate_error(error, g_steal_pointer(&local));
	return verdict == VERDICT_TAKEN ? CLAIM_TAKEN : CLAIM_FAILED;
}

enum claim_result claim_ask(struct task *task, GError **error)
{
	struct claim claim = {.task = task};
	const char *step = task->step; /* with which the end is reported */
	GError *local = NULL;
	enum verdict verdict;

	task->step = "asking whether nova-compute has begun the request";
	release_find(task);
	verdict = try_until_clear(&claim, ask_nova_event, &local);
	task->step = step;
	return verdict == VERDICT_OURS ? CLAIM_OURS
				       : result_of_verdict(&claim, verdict, local, error);
}

/* The claim cannot be journaled, so it cannot be tried. */
static enum claim_result fail_unjournaled(struct task *task, const GError *why, GError **error)
{
	enum claim_result result = claim_ask(task, error);

	if (result != CLAIM_OURS)
		return result;
	g_propagate_error(error, g_error_copy(why));
	return CLAIM_FAILED;
}

enum claim_result claim_take(struct task *task, GError **error)
{
	const struct journal_job *left = task->recovered_job;
	struct claim claim = {.task = task,
			      .may_be_saved = left && fact_is_known(left, FACT_CLAIMING)};
	g_autoptr(GError) unwritten = NULL;
	GError *local = NULL;
	enum verdict verdict;

	task->step = "saving the first task state";
	release_find(task);
	if (!claim.may_be_saved && journal_fact(task, FACT_CLAIMING, &unwritten) < 0)
		return fail_unjournaled(task, unwritten, error);
	verdict = try_until_clear(&claim, try_claim, &local);
	return verdict == VERDICT_OURS ? accept_claim(task, error)
				       : result_of_verdict(&claim, verdict, local, error);
}
