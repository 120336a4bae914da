/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See task-run.h.
 */
#include "agent/daemon/task-run.h"

#include <string.h>

#include "agent/recovery/resume.h"
#include "agent/task/facts.h"
#include "agent/task/fault-point.h"
#include "agent/task/report-end.h"
#include "agent/task/report.h"

/* Between two tries to write the journal, and to report the end. */
#define JOURNAL_PAUSE_MS 1000
#define END_PAUSE_MS 5000
/* How long each is tried. */
#define TRY_US (24 * 3600LL * G_USEC_PER_SEC)

static int run_method(struct task *task, GError **error)
{
	task->step = "starting the action's event";
	/* The earlier process has started it; where it has not, its end does. */
	if ((task->method->flags & METHOD_HAS_EVENT) && !task_was_begun(task) &&
	    report_event_start(task, error) < 0)
		return -1;
	task->step = "beginning";
	return task->method->run(task, error);
}

/* A later process must know that the task was begun: until that is written, nothing is begun. */
static int note_run(struct task *task, GError **error)
{
	gint64 until = g_get_monotonic_time() + TRY_US;
	g_autoptr(GError) local = NULL;

	task->step = "waiting until the journal can be written";
	while (journal_job_run(task->agent->journal, task->journal_job, &local) < 0) {
		g_warning("instance %s: %s; trying again", nova_instance_uuid(task->instance),
			  local->message);
		if (job_wait(task->job, JOURNAL_PAUSE_MS) && g_get_monotonic_time() < until) {
			g_clear_error(&local);
			continue;
		}
		if (job_is_cancelled(task->job))
			return task_fail_cancelled(task, error);
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	return 0;
}

/* Returns 1: run the method; 0: there is nothing left to do but to report success; -1 with an
 * error. */
static int begin_task(struct task *task, GError **error)
{
	int rc = task->recovered_job ? recovery_begin(task, error) : 1;

	if (rc < 1 || task->journal_job == 0 || task->image_verified)
		return rc;
	(void)fault_at("run", "before");
	rc = note_run(task, error);
	(void)fault_at("run", "after");
	return rc < 0 ? -1 : 1;
}

/* Reports the end until all of it is delivered, for at most a day. Returns 0, or -1 where
 * novasnapd stops before: then the next process reports the rest. */
static int report_whole_end(struct task *task, const GError *error)
{
	gint64 until = g_get_monotonic_time() + TRY_US;

	while (!report_end(task, error)) {
		if (task->journal_job == 0 || g_get_monotonic_time() > until)
			return 0;
		if (!job_wait_despite_cancel(task->job, END_PAUSE_MS))
			return -1;
		task->recovering = true;
	}
	return 0;
}

static void end_task(struct task *task, const GError *error)
{
	g_autoptr(GError) local = NULL;

	/* The image is complete, but the conductor does not answer: the next process tells it. */
	if (error && task->image_verified && rpc_error_is_unanswered(error) &&
	    task->journal_job > 0 && job_is_stopping(task->job))
		return;
	if (error && task->journal_job > 0)
		fact_note_failure(task, error);
	if (report_whole_end(task, error) < 0)
		return;
	if (task->journal_job > 0 && journal_job_end(task->agent->journal, task->journal_job,
						     error ? error->message : NULL, &local) < 0)
		g_warning("instance %s: %s; the job runs again at the next start",
			  nova_instance_uuid(task->instance), local->message);
}

static void task_job_run(struct job *job, void *opaque)
{
	struct task *task = opaque;
	g_autoptr(GError) error = NULL;
	int rc;

	task->job = job;
	rc = begin_task(task, &error);
	/* Stopped before it began: the job stays open for the next start. */
	if (rc < 0 && job_is_stopping(job))
		return;
	/* Whoever waits for it beside nova: the method does not run, and cannot tell. */
	if (rc < 0 && task->method->give_up)
		task->method->give_up(task);
	if (rc > 0)
		(void)run_method(task, &error);
	end_task(task, error);
}

static void task_job_free(void *opaque)
{
	struct task *task = opaque;

	/* A call that never ran is not in the journal: its caller is told. */
	if (!task->job)
		rpc_request_fail(task->request, "NovaException", "nova.exception",
				 "novasnapd is stopping");
	task_free(task);
}

static void task_job_describe(const void *opaque, cJSON *into)
{
	task_describe(opaque, into);
}

const struct job_ops task_job_ops = {task_job_run, task_job_free, task_job_describe};

static struct task *task_from_journal(struct agent *agent, const struct task_method *method,
				      const struct journal_job *left, GError **error)
{
	cJSON *message;
	struct rpc_request *request;
	struct task *task;

	if (!method) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE, "there is no such method");
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
	task->journal_job = left->id;
	worker_pool_submit(agent->pool, nova_instance_uuid(task->instance), task->image_id,
			   &task_job_ops, task);
}
