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

/* Whether the store's image can turn out to be wrong: it has data, and was not verified. */
static bool may_differ(const struct task *task)
{
	enum task_image image = task_state_image(task->state);

	return image == TASK_IMAGE_WRITTEN || image == TASK_IMAGE_SENT ||
	       image == TASK_IMAGE_STORED;
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
	case IMAGE_ERROR_MISMATCH:
		return may_differ(task) ? TASK_EVENT_IMAGE_DIFFERS : TASK_EVENT_FAILED;
	default:
		return TASK_EVENT_FAILED;
	}
}

/* An error caused by the job's abort flag. */
static bool is_abort(const GError *error)
{
	return g_error_matches(error, VIRT_ERROR, VIRT_ERROR_CANCELLED) ||
	       g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_CANCELLED) ||
	       g_error_matches(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_CANCELLED);
}

/* Whether a peer did not answer, so that nothing is known to have failed. */
static bool is_unanswered(const GError *error)
{
	return rpc_error_is_unanswered(error) ||
	       g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE) ||
	       g_error_matches(error, VIRT_ERROR, VIRT_ERROR_DISCONNECTED) ||
	       g_error_matches(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT);
}

/* Whether the next process runs the task if this one does not end it. It does not repeat a call. */
static bool is_resumable(const struct task *task)
{
	return task->journal_job > 0 && !(task->method->flags & METHOD_LEAVES_STEP);
}

/* By a user, in this process or, if the error comes from the journal, in an earlier one: a job that
 * was only stopped has no journaled failure. Stopping a task that is not resumable cancels it. */
static bool is_cancelled(const struct task *task, const GError *error)
{
	bool is_journaled = task->recovered_job && task->recovered_job->reason;

	return is_abort(error) &&
	       (job_is_cancelled(task->job) || is_journaled || !is_resumable(task)) &&
	       task_state_image(task->state) != TASK_IMAGE_KEPT;
}

static bool is_stopped(const struct task *task, const GError *error)
{
	return is_resumable(task) && job_is_stopping(task->job) &&
	       (is_abort(error) || is_unanswered(error));
}

enum task_event task_outcome(const struct task *task, const GError *error)
{
	if (!error)
		return TASK_EVENT_SUCCEEDED;
	if (is_cancelled(task, error))
		return TASK_EVENT_CANCELLED;
	if (is_stopped(task, error))
		return TASK_EVENT_STOPPED;
	if (error->domain == RPC_ERROR)
		return outcome_of_rpc_error(task, error);
	if (error->domain == IMAGE_ERROR)
		return outcome_of_image_error(task, error);
	return TASK_EVENT_FAILED;
}
