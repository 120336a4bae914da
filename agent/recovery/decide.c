/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See decide.h.
 */
#include "agent/recovery/decide.h"

#include "agent/recovery/instance.h"
#include "agent/task/facts.h"

#define RUNS_MAX 3
#define PAUSE_MS 2000
/* How long the image store is asked while it does not answer. */
#define UNANSWERED_S (24 * 3600LL)
/* A Glance whose client's host lost its power waits for data that does not come: for so many times
 * the usual limit, because its client_socket_timeout is a quarter of an hour. */
#define SAVING_TIMES 8

static gint64 in_seconds(gint64 seconds)
{
	return g_get_monotonic_time() + seconds * G_USEC_PER_SEC;
}

/* 1: it waits for data, or it is complete; 0 with an error: it is not known yet, for the store
 * still saves; -1 with an error. */
static int check_image(struct task *task, GError **error)
{
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) local = NULL;

	if (image_store_get(task->agent->store, &task->identity, task->image_id, &record, &local) <
	    0) {
		/* A directory store has no record before the upload. */
		if (task->agent->config->image.directory &&
		    g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND))
			return 1;
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	if (g_strcmp0(record->status, "active") == 0)
		task->image_verified = fact_image_matches(task->recovered_job, record);
	if (task->image_verified || g_strcmp0(record->status, "queued") == 0)
		return 1;
	g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
		    "novasnapd was interrupted while it served this, and image %s is now %s: it "
		    "is unknown whether the image is complete",
		    task->image_id, record->status);
	return g_strcmp0(record->status, "saving") == 0 ? 0 : -1;
}

/* Asks again while the store is away, and while it has not noticed yet that nobody sends data any
 * more. */
static int ask_image(struct task *task, GError **error)
{
	gint64 saving = task->agent->config->image.saving_timeout_s;
	gint64 saving_until = in_seconds(SAVING_TIMES * saving);
	gint64 unanswered_until = in_seconds(UNANSWERED_S);

	for (;;) {
		g_autoptr(GError) local = NULL;
		int rc = check_image(task, &local);
		bool is_away =
			rc < 0 && g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE);
		gint64 until = is_away ? unanswered_until : saving_until;

		if (rc > 0)
			return rc;
		if ((rc < 0 && !is_away) || g_get_monotonic_time() > until ||
		    !job_wait(task->job, PAUSE_MS)) {
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
	}
}

/* Whether the method may run although somebody cleared the task state: not where it changes the
 * guest besides the snapshot, as shelve does. */
static bool may_run_without_task_state(const struct task *task)
{
	unsigned flags = task->method->flags;

	return !(flags & METHOD_HAS_IMAGE) || (flags & METHOD_TOLERATES_GONE);
}

/* A complete image is kept, whatever became of the instance. */
static int decide_with_image(struct task *task, enum instance_standing standing, const GError *why)
{
	const char *uuid = task->recovered_job->instance;

	task->keep_image = true;
	switch (standing) {
	case INSTANCE_BUSY:
	case INSTANCE_MOVED:
	case INSTANCE_DELETING:
	case INSTANCE_GONE:
		g_message("instance %s: image %s is complete; %s: the instance is left alone", uuid,
			  task->image_id, why->message);
		return 0;
	case INSTANCE_IDLE:
		if (may_run_without_task_state(task))
			return 1;
		g_message("instance %s: image %s is complete, and nothing is left to do", uuid,
			  task->image_id);
		return 0;
	case INSTANCE_WAITS:
	case INSTANCE_UNKNOWN:
	default:
		return 1;
	}
}

/* Where nothing stands against another run. */
static int decide_to_run(struct task *task, enum instance_standing standing, GError **error)
{
	unsigned runs = task->recovered_job->runs;

	if (standing == INSTANCE_IDLE && !(task->method->flags & METHOD_HAS_IMAGE))
		return 0;
	if (standing == INSTANCE_IDLE && !may_run_without_task_state(task)) {
		task->not_ours = true;
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_UNEXPECTED_TASK_STATE,
				    "novasnapd was interrupted while it served this, and the "
				    "instance does not wait for it any more");
		return -1;
	}
	if (runs < RUNS_MAX)
		return 1;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
		    "novasnapd was interrupted %u times while it served this: it is not tried "
		    "again",
		    runs);
	return -1;
}

/* The instance's standing comes first, then the failure that the earlier process noted, then a
 * rollback that failed, then the image. */
int recovery_decide(struct task *task, const GError *rollback_error, GError **error)
{
	g_autoptr(GError) instance_error = NULL;
	g_autoptr(GError) image_error = NULL;
	bool has_failed = task->recovered_job->reason != NULL;
	enum instance_standing standing;
	int image = 1;

	task->step = "asking for the instance's state";
	standing = recovery_ask_instance(task, false, &instance_error);
	task->not_ours =
		standing == INSTANCE_BUSY || standing == INSTANCE_MOVED ||
		(has_failed && standing == INSTANCE_IDLE && !may_run_without_task_state(task));
	if ((task->method->flags & METHOD_HAS_IMAGE) && !has_failed &&
	    !job_is_cancelled(task->job) && !job_is_stopping(task->job)) {
		task->step = "asking for the image's state";
		image = ask_image(task, &image_error);
	}
	if (job_is_stopping(task->job) ||
	    (!has_failed && (task->image_verified ? !job_refuse_cancel(task->job)
						  : job_is_cancelled(task->job)))) {
		task->image_verified = false;
		return task_fail_cancelled(task, error);
	}
	if (task->image_verified)
		return decide_with_image(task, standing, instance_error);
	if (instance_error && !(has_failed && standing == INSTANCE_UNKNOWN))
		g_propagate_error(error, g_steal_pointer(&instance_error));
	else if (has_failed)
		return fact_restore_failure(task->recovered_job, error);
	else if (rollback_error)
		g_propagate_error(error, g_error_copy(rollback_error));
	else if (image < 0)
		g_propagate_error(error, g_steal_pointer(&image_error));
	else
		return decide_to_run(task, standing, error);
	return -1;
}
