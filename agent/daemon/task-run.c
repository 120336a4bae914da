/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See task-run.h.
 */
#include "agent/daemon/task-run.h"

#include <string.h>

#include "agent/recovery/location.h"
#include "agent/recovery/moved.h"
#include "agent/recovery/resume.h"
#include "agent/recovery/rollback.h"
#include "agent/task/claim-due.h"
#include "agent/task/claim.h"
#include "agent/task/facts.h"
#include "agent/task/fault-point.h"
#include "agent/task/log-context.h"
#include "agent/task/measures.h"
#include "agent/task/outcome.h"
#include "agent/task/release.h"
#include "agent/task/report-end.h"
#include "agent/task/report-event.h"

/* Pauses between two tries to write the journal, and to report the end. */
#define JOURNAL_PAUSE_MS 1000
#define END_PAUSE_MS 5000
/* A guest is brought back without asking the conductor only as long after the task's end: nova does
 * not take this host for dead sooner (service_down_time). */
#define CERTAIN_US (60 * G_USEC_PER_SEC)
/* Time limit of these tries. */
#define TRY_US (24 * 3600LL * G_USEC_PER_SEC)

/* A later process must know that the task was begun. So the task does not begin until the journal
 * says so. */
static int journal_run(struct task *task, GError **error)
{
	gint64 until = g_get_monotonic_time() + TRY_US;
	bool is_logged = false;

	task->step = "waiting until the journal can be written";
	for (;;) {
		g_autoptr(GError) local = NULL;

		if (journal_job_run(task->agent->journal, task->journal_job, &local) == 0)
			return 0;
		/* Its caller would not wait as long. */
		if (task->method->flags & METHOD_LEAVES_STEP) {
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
		if (!is_logged)
			g_warning("instance %s: %s; %s waits until the journal can be written",
				  nova_instance_uuid(task->instance), local->message,
				  task->method->name);
		is_logged = true;
		if (job_wait(task->job, JOURNAL_PAUSE_MS) && g_get_monotonic_time() < until)
			continue;
		if (job_is_cancelled(task->job))
			return task_fail_cancelled(task, error);
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
}

/* Returns the next event for the task's state: TASK_EVENT_RUN, or the event with which it ends
 * without running. */
static enum task_event begin_task(struct task *task, GError **error)
{
	g_autoptr(GError) local = NULL;
	enum task_event event = TASK_EVENT_RUN;
	int rc;

	if (task->recovered_job)
		event = recovery_begin(task, error);
	/* Reporting a complete image does not count as a run, and may be repeated without limit. */
	if (event != TASK_EVENT_RUN || task->journal_job == 0 ||
	    task_state_has_complete_image(task->state))
		return event;
	(void)fault_at("run", "before");
	rc = journal_run(task, &local);
	(void)fault_at("run", "after");
	if (rc == 0)
		return TASK_EVENT_RUN;
	event = job_is_stopping(task->job) ? TASK_EVENT_STOPPED : task_outcome(task, local);
	g_propagate_error(error, g_steal_pointer(&local));
	return event;
}

/* Claims the task, also if it ends without running: its end is reported only then. Returns `event`,
 * or the one with which the task ends instead; then the error is replaced. */
static enum task_event claim_task(struct task *task, enum task_event event, GError **error)
{
	bool is_here = event != TASK_EVENT_NOT_OURS && event != TASK_EVENT_INSTANCE_GONE;
	g_autoptr(GError) local = NULL;

	switch (is_here ? claim_take(task, &local) : claim_ask(task, &local)) {
	case CLAIM_OURS:
		return event;
	case CLAIM_TAKEN:
		event = TASK_EVENT_TAKEN;
		break;
	case CLAIM_FAILED:
	default:
		event = job_is_stopping(task->job) ? TASK_EVENT_STOPPED : task_outcome(task, local);
		break;
	}
	g_clear_error(error);
	g_propagate_error(error, g_steal_pointer(&local));
	return event;
}

static int run_method(struct task *task, GError **error)
{
	if (task_state_apply(task->state, TASK_EVENT_RUN, error) < 0)
		return -1;
	task->step = "asking for nova's release";
	release_find(task);
	task->step = "starting the action's event";
	/* An earlier process may have started the event, but not before it had claimed the task. If
	 * it did not, report_end does. */
	if ((task->method->flags & METHOD_HAS_EVENT) &&
	    (task->is_claimed || !task_was_begun(task)) && report_event_start(task, error) < 0)
		return -1;
	task->step = "beginning";
	return task->method->run(task, error);
}

/* The event after an attempt to report the end. */
static enum task_event event_after_report(struct task *task, bool is_complete, gint64 until)
{
	if (is_complete)
		return TASK_EVENT_REPORTED;
	if (task->journal_job == 0 || g_get_monotonic_time() > until)
		return TASK_EVENT_GIVEN_UP;
	return job_wait_despite_cancel(task->job, END_PAUSE_MS) ? TASK_EVENT_PENDING
								: TASK_EVENT_STOPPED;
}

/* Asks the conductor where the instance is, and drops the steps that would bring back a guest that
 * is not here any more. */
static int drop_if_moved(struct task *task, struct journal_job *left, GError **error)
{
	struct journal_job *recovered = task->recovered_job;
	const char *step = task->step; /* with which the end is reported */
	int rc;

	task->recovered_job = left;
	rc = recovery_drop_if_moved(task, true, error);
	task->recovered_job = recovered;
	task->step = step;
	return rc;
}

/* Rolls back the steps that could not be rolled back yet. leftovers.c does that only once the job
 * has ended, but a guest must not stay saved because the conductor does not answer. `ended_at`:
 * monotonic us. */
static void rollback_open_steps(struct task *task, gint64 ended_at)
{
	g_autofree char *id = g_strdup_printf("%" G_GINT64_FORMAT, task->journal_job);
	g_autoptr(journal_job_t) left = NULL;
	g_autoptr(GError) error = NULL;
	bool is_certain = g_get_monotonic_time() - ended_at < CERTAIN_US;

	/* The guest may be another job's by now. */
	if (task->journal_job == 0 || !job_holds_key(task->job))
		return;
	left = journal_find(task->agent->journal, id, &error);
	if (left && !recovery_is_in_doubt(left) &&
	    (is_certain || drop_if_moved(task, left, &error) == 0))
		(void)recovery_rollback(task->agent, task->job, left, 1, &error);
	if (error)
		g_warning("instance %s: %s; retrying", nova_instance_uuid(task->instance),
			  error->message);
}

/* For at most a day. */
static void report_until_delivered(struct task *task, const GError *error)
{
	gint64 ended_at = g_get_monotonic_time();
	bool is_retry = false;

	while (task_state_is_ending(task->state)) {
		bool is_complete;

		if (is_retry)
			rollback_open_steps(task, ended_at);
		is_complete = report_end(task, error, is_retry);

		if (task_state_apply(task->state,
				     event_after_report(task, is_complete, ended_at + TRY_US),
				     NULL) < 0)
			return;
		is_retry = true;
	}
}

/* The copy of a direct snapshot whose image was not confirmed. If it cannot be settled now,
 * leftovers.c goes on. */
static void settle_locations(struct task *task)
{
	g_autofree char *id = g_strdup_printf("%" G_GINT64_FORMAT, task->journal_job);
	g_autoptr(journal_job_t) left = NULL;
	g_autoptr(GError) error = NULL;

	left = journal_find(task->agent->journal, id, &error);
	if (left)
		(void)recovery_location_settle(task, left, &error);
	if (error)
		g_warning("instance %s: %s; asking again", nova_instance_uuid(task->instance),
			  error->message);
}

/* Whether the job stays open in the journal, because the step of the task stays open. */
static bool stays_open(const struct task *task, enum task_event event)
{
	return (task->method->flags & METHOD_LEAVES_STEP) && event == TASK_EVENT_SUCCEEDED;
}

static void end_task(struct task *task, enum task_event event, const GError *error)
{
	const char *uuid = nova_instance_uuid(task->instance);
	bool was_running = task_state_stage(task->state) == STAGE_RUNNING;
	enum task_stage stage;
	g_autofree char *redacted = error ? rpc_log_redact(error->message) : NULL;
	g_autoptr(GError) local = NULL;

	if (task_state_apply(task->state, event, NULL) < 0)
		return;
	measures_task_ended(task, event);
	/* Of a task that is left to nova-compute nothing is reported, so it may be asked again. */
	if (error && task->journal_job > 0 && task_state_is_ending(task->state) &&
	    task_state_stage(task->state) != STAGE_LEFT_TO_NOVA)
		fact_note_failure(task, error);
	if (was_running && task_state_stage(task->state) == STAGE_LEFT_OPEN)
		/* It does not count as a run during which novasnapd died. */
		fact_note(task, FACT_STOPPED);
	release_find(task);
	report_until_delivered(task, error);
	stage = task_state_stage(task->state);
	if (stage == STAGE_LEFT_OPEN)
		g_message("instance %s: novasnapd is stopping: %s continues at its next start",
			  uuid, task->method->name);
	if (stage == STAGE_CLOSED && error && task->journal_job > 0 &&
	    (task->method->flags & METHOD_HAS_IMAGE))
		settle_locations(task);
	if (stage == STAGE_CLOSED && task->journal_job > 0 && !stays_open(task, event) &&
	    journal_job_end(task->agent->journal, task->journal_job,
			    redacted || !error ? redacted : error->message, &local) < 0)
		g_warning("instance %s: %s; the job will run again at the next start", uuid,
			  local->message);
}

static bool ends_without_success(enum task_event event)
{
	return event != TASK_EVENT_RUN && event != TASK_EVENT_NOTHING_LEFT &&
	       event != TASK_EVENT_STOPPED;
}

static void task_job_run(struct job *job, void *opaque)
{
	struct task *task = opaque;
	g_autoptr(GError) error = NULL;
	enum task_event event;

	task->job = job;
	log_context_set(task);
	event = begin_task(task, &error);
	if (event != TASK_EVENT_STOPPED && claim_is_due(task))
		event = claim_task(task, event, &error);
	if (ends_without_success(event) && task->method->give_up)
		task->method->give_up(task);
	if (event == TASK_EVENT_RUN) {
		(void)run_method(task, &error);
		event = task_outcome(task, error);
	}
	end_task(task, event, error);
	log_context_set(NULL);
}

static void give_up_cast(struct task *task)
{
	log_context_set(task);
	g_warning("instance %s: %s is not executed: novasnapd stops, and could not write it to the "
		  "journal",
		  nova_instance_uuid(task->instance), task->method->name);
	if (task->method->give_up)
		task->method->give_up(task);
	log_context_set(NULL);
}

static void task_job_free(void *opaque)
{
	struct task *task = opaque;

	/* The task never ran. Calls are not journaled, so the caller gets an error. A cast that was
	 * acked while the journal could not be written is lost. */
	if (!task->job && task->journal_job > 0)
		(void)task_state_apply(task->state, TASK_EVENT_STOPPED, NULL);
	else if (!task->job && !rpc_request_is_call(task->request))
		give_up_cast(task);
	if (!task->job)
		rpc_request_fail(task->request, "NovaException", "nova.exception",
				 "novasnapd stopped before it executed this request");
	task_free(task);
}

static void task_job_describe(const void *opaque, cJSON *into)
{
	task_describe(opaque, into);
}

const struct job_ops task_job_ops = {task_job_run, task_job_free, task_job_describe};

struct task *task_from_journal(struct agent *agent, const struct task_method *method,
			       const struct journal_job *left, GError **error)
{
	cJSON *message;
	struct rpc_request *request;
	struct task *task;

	if (!method) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE, "there is no such method");
		return NULL;
	}
	message = rpc_body_decode(left->message, strlen(left->message), error);
	if (!message)
		return NULL;
	rpc_message_prepare_replay(message);
	request = rpc_request_new_local(message);
	task = task_new(agent, method, request, error);
	if (!task)
		rpc_request_free(request);
	return task;
}

void task_resume(struct agent *agent, const struct task_method *method, struct journal_job *left)
{
	g_autoptr(GError) error = NULL;
	struct task *task = task_from_journal(agent, method, left, &error);

	if (!task) {
		g_warning("job %" G_GINT64_FORMAT " of the journal (%s) cannot be read: %s",
			  left->id, left->method, error->message);
		(void)journal_job_end(agent->journal, left->id, "it cannot be read", NULL);
		journal_job_free(left);
		return;
	}
	task->recovered_job = left;
	task->is_resumed = true;
	task->journal_job = left->id;
	measures_recovered(agent, task_was_begun(task));
	worker_pool_submit(agent->pool, nova_instance_uuid(task->instance), task->image_id,
			   &task_job_ops, task);
}
