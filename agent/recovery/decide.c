/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See decide.h.
 */
#include "agent/recovery/decide.h"

#include "agent/recovery/image.h"
#include "agent/recovery/instance.h"
#include "agent/recovery/location.h"
#include "agent/task/claim-due.h"
#include "agent/task/facts.h"
#include "agent/task/outcome.h"

#define RUNS_MAX 3

/* Whether the method may run although the task state was cleared: not if it also changes the guest,
 * as shelve does. */
static bool may_run_without_task_state(const struct task *task)
{
	unsigned flags = task->method->flags;

	return !(flags & METHOD_HAS_IMAGE) || (flags & METHOD_TOLERATES_GONE);
}

/* A complete image is kept, whatever happened to the instance. */
static enum task_event decide_with_image(struct task *task, enum instance_standing standing,
					 const GError *why, GError **error)
{
	const char *uuid = task->recovered_job->instance;

	if (task_state_image(task->state) != TASK_IMAGE_STORED && fact_keep_image(task, error) < 0)
		return TASK_EVENT_FAILED;
	switch (standing) {
	case INSTANCE_BUSY:
	case INSTANCE_MOVED:
	case INSTANCE_DELETING:
	case INSTANCE_GONE:
		g_message("instance %s: image %s is complete; %s: not changing the instance", uuid,
			  task->image_id, why->message);
		return TASK_EVENT_NOTHING_LEFT;
	case INSTANCE_IDLE:
		if (may_run_without_task_state(task))
			return TASK_EVENT_RUN;
		g_message("instance %s: image %s is complete; nothing left to do", uuid,
			  task->image_id);
		return TASK_EVENT_NOTHING_LEFT;
	case INSTANCE_WAITS:
	case INSTANCE_UNKNOWN:
	default:
		return TASK_EVENT_RUN;
	}
}

/* For a job that has not failed, without a complete image. */
static enum task_event decide_to_run(struct task *task, enum instance_standing standing,
				     GError **error)
{
	/* A run that ended by SIGTERM says nothing against another one. */
	unsigned stops = fact_count(task->recovered_job, FACT_STOPPED);
	unsigned runs = task->recovered_job->runs - MIN(stops, task->recovered_job->runs);

	/* An earlier process has finished the work: clearing the task state comes last. */
	if (standing == INSTANCE_IDLE && task_was_begun(task) &&
	    !(task->method->flags & METHOD_HAS_IMAGE))
		return TASK_EVENT_NOTHING_LEFT;
	if (standing == INSTANCE_IDLE && !may_run_without_task_state(task)) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_UNEXPECTED_TASK_STATE,
				    "novasnapd was interrupted during this request, and the "
				    "instance no longer waits for it");
		return TASK_EVENT_NOT_OURS;
	}
	if (runs < RUNS_MAX)
		return TASK_EVENT_RUN;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
		    "novasnapd was interrupted %u times during this request: it is not tried again",
		    runs);
	return TASK_EVENT_FAILED;
}

/* The event for a failure that does not depend on the instance's standing. */
static enum task_event fail_with(const struct task *task, const GError *failure, GError **error)
{
	g_propagate_error(error, g_error_copy(failure));
	return task_outcome(task, failure);
}

static enum task_event fail_by_standing(const struct task *task, enum instance_standing standing,
					const GError *why, GError **error)
{
	g_propagate_error(error, g_error_copy(why));
	return standing == INSTANCE_BUSY || standing == INSTANCE_MOVED ? TASK_EVENT_NOT_OURS
								       : task_outcome(task, why);
}

static enum task_event fail_as_journaled(const struct task *task, enum instance_standing standing,
					 GError **error)
{
	g_autoptr(GError) noted = NULL;

	(void)fact_restore_failure(task->recovered_job, &noted);
	if (standing == INSTANCE_IDLE && !may_run_without_task_state(task)) {
		g_propagate_error(error, g_steal_pointer(&noted));
		return TASK_EVENT_NOT_OURS;
	}
	return fail_with(task, noted, error);
}

/* The task state may be nova-compute's: only the claim tells whether the task may run. */
static enum task_event decide_unclaimed(struct task *task, enum instance_standing standing,
					const GError *why, GError **error)
{
	if (job_is_stopping(task->job))
		return TASK_EVENT_STOPPED;
	if (standing == INSTANCE_MOVED || standing == INSTANCE_DELETING ||
	    standing == INSTANCE_GONE)
		return fail_by_standing(task, standing, why, error);
	if (task->recovered_job->reason)
		return fail_as_journaled(task, INSTANCE_WAITS, error);
	if (job_is_cancelled(task->job)) {
		(void)task_fail_cancelled(task, error);
		return TASK_EVENT_CANCELLED;
	}
	return decide_to_run(task, INSTANCE_WAITS, error);
}

/* Not if it is already known how the task continues. The method itself verifies an image that the
 * store has confirmed, after it has cleared the task state. */
static bool needs_image_query(const struct task *task, enum instance_standing standing)
{
	bool was_complete = task_state_has_complete_image(task->state);
	bool is_allowed = standing == INSTANCE_WAITS || standing == INSTANCE_UNKNOWN ||
			  (standing == INSTANCE_IDLE && may_run_without_task_state(task));
	bool will_run = was_complete && is_allowed;

	return (task->method->flags & METHOD_HAS_IMAGE) && !task->recovered_job->reason &&
	       !will_run && !(!was_complete && job_is_cancelled(task->job)) &&
	       !job_is_stopping(task->job);
}

/* A complete image cannot be cancelled. An image that is found to be complete can be cancelled only
 * before that. `was_complete`: it was known before. */
static bool is_recovery_cancelled(const struct task *task, enum image_standing image,
				  bool was_complete)
{
	if (was_complete)
		return false;
	return image == IMAGE_COMPLETE ? !job_refuse_cancel(task->job)
				       : job_is_cancelled(task->job);
}

/* Considers, in this order: the instance's standing, the failure that the earlier process
 * journaled, a failed rollback, the image. */
enum task_event recovery_decide(struct task *task, const GError *rollback_error, GError **error)
{
	g_autoptr(GError) instance_error = NULL;
	g_autoptr(GError) image_error = NULL;
	g_autoptr(GError) location_error = NULL;
	bool has_failed = task->recovered_job->reason != NULL;
	bool was_complete = task_state_has_complete_image(task->state);
	enum instance_standing standing;
	enum image_standing image = was_complete ? IMAGE_UNKNOWN : IMAGE_WAITS;

	task->step = "querying the instance's state";
	standing = recovery_ask_instance(task, was_complete, &instance_error);
	if (claim_is_due(task))
		return decide_unclaimed(task, standing, instance_error, error);
	if (needs_image_query(task, standing)) {
		task->step = "querying the image's state";
		image = recovery_ask_image(task, &image_error);
		if (recovery_location_close(task, image, &location_error) < 0)
			return fail_with(task, location_error, error);
	}
	if (image == IMAGE_COMPLETE &&
	    task_state_apply(task->state, TASK_EVENT_IMAGE_VERIFIED, error) < 0)
		return TASK_EVENT_FAILED;
	if (job_is_stopping(task->job))
		return TASK_EVENT_STOPPED;
	if (!has_failed && is_recovery_cancelled(task, image, was_complete)) {
		(void)task_fail_cancelled(task, error);
		return TASK_EVENT_CANCELLED;
	}
	if (image == IMAGE_COMPLETE || (image == IMAGE_UNKNOWN && was_complete && !has_failed))
		return decide_with_image(task, standing, instance_error, error);
	/* So that it is deleted, whatever happened to the instance. */
	if (was_complete && image == IMAGE_UNUSABLE)
		return fail_with(task, image_error, error);
	if (instance_error && !(has_failed && standing == INSTANCE_UNKNOWN))
		return fail_by_standing(task, standing, instance_error, error);
	if (has_failed)
		return fail_as_journaled(task, standing, error);
	if (rollback_error)
		return fail_with(task, rollback_error, error);
	if (image_error)
		return fail_with(task, image_error, error);
	return decide_to_run(task, standing, error);
}
