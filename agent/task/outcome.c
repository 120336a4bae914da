/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See outcome.h.
 */
#include "agent/task/outcome.h"

static enum task_event outcome_of_rpc_error(const struct task *task, const GError *error)
{
	bool tolerates_gone = task->method->flags & METHOD_TOLERATES_GONE;

	switch (error->code) {
	case RPC_ERROR_UNEXPECTED_TASK_STATE:
		return TASK_EVENT_STATE_TAKEN;
	case RPC_ERROR_UNEXPECTED_DELETING_TASK_STATE:
		return tolerates_gone ? TASK_EVENT_INSTANCE_GONE : TASK_EVENT_STATE_TAKEN;
	case RPC_ERROR_INSTANCE_NOT_FOUND:
		return tolerates_gone ? TASK_EVENT_INSTANCE_GONE : TASK_EVENT_NOT_OURS;
	default:
		return TASK_EVENT_FAILED;
	}
}

static enum task_event outcome_of_image_error(const struct task *task, const GError *error)
{
	switch (error->code) {
	case IMAGE_ERROR_NOT_FOUND:
	case IMAGE_ERROR_GONE:
		return task->method->flags & METHOD_TOLERATES_GONE ? TASK_EVENT_IMAGE_GONE
								   : TASK_EVENT_FAILED;
	case IMAGE_ERROR_CONFLICT:
		return TASK_EVENT_IMAGE_REFUSED;
	default:
		return TASK_EVENT_FAILED;
	}
}

/* The conductor does not answer, and novasnapd is stopping: the next process reports the complete
 * image. */
static bool is_stopped_unanswered(const struct task *task, const GError *error)
{
	return task->journal_job > 0 && task_state_has_complete_image(task->state) &&
	       rpc_error_is_unanswered(error) && job_is_stopping(task->job);
}

/* An error caused by the job's abort flag. */
static bool is_abort(const GError *error)
{
	return g_error_matches(error, VIRT_ERROR, VIRT_ERROR_CANCELLED) ||
	       g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_CANCELLED);
}

enum task_event task_outcome(const struct task *task, const GError *error)
{
	if (!error)
		return TASK_EVENT_SUCCEEDED;
	if (is_stopped_unanswered(task, error))
		return TASK_EVENT_STOPPED;
	if (is_abort(error) && job_is_cancelled(task->job) &&
	    task_state_image(task->state) != TASK_IMAGE_KEPT)
		return TASK_EVENT_CANCELLED;
	if (is_abort(error) && job_is_out_of_time(task->job) &&
	    !task_state_has_complete_image(task->state))
		return TASK_EVENT_STOPPED;
	if (error->domain == RPC_ERROR)
		return outcome_of_rpc_error(task, error);
	if (error->domain == IMAGE_ERROR)
		return outcome_of_image_error(task, error);
	return TASK_EVENT_FAILED;
}
