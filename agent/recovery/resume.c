/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See resume.h. It may be interrupted at any point: the next process starts it again.
 */
#include "agent/recovery/resume.h"

#include "agent/recovery/decide.h"
#include "agent/recovery/moved.h"
#include "agent/recovery/rollback.h"
#include "agent/task/facts.h"
#include "agent/task/outcome.h"

#define ROLLBACK_TRIES 5

static enum task_event recover_event(const struct journal_job *left)
{
	if (fact_is_known(left, FACT_KEEP_IMAGE))
		return TASK_EVENT_RECOVER_KEPT;
	if (fact_is_known(left, FACT_IMAGE_STORED))
		return TASK_EVENT_RECOVER_STORED;
	if (fact_all_data_was_sent(left))
		return TASK_EVENT_RECOVER_SENT;
	return fact_is_known(left, FACT_DATA_SENT) ? TASK_EVENT_RECOVER_WRITTEN
						   : TASK_EVENT_RECOVER;
}

enum task_event recovery_begin(struct task *task, GError **error)
{
	const struct journal_job *left = task->recovered_job;
	g_autoptr(GError) rollback_error = NULL;
	g_autoptr(GError) local = NULL;

	if (task_state_apply(task->state, recover_event(left), error) < 0)
		return TASK_EVENT_FAILED;
	task->checksum = fact_find_checksum(left);
	task->image_asked_at = fact_image_asked(left);
	task->location_sent_at = fact_location_is_sent(task) ? fact_data_sent_at(left) : 0;
	if (task_state_has_complete_image(task->state))
		(void)job_refuse_cancel(task->job);
	if (task_state_has_complete_image(task->state) && fact_is_known(left, FACT_STATE_CLEARED))
		task_state_set_done(task->state, TASK_DUTY_TASK_STATE);
	g_message("instance %s: novasnapd was interrupted while %s%s%s %s: resuming it",
		  left->instance, left->method, task->image_id ? " into image " : "",
		  task->image_id ? task->image_id : "",
		  task_was_begun(task) ? "was in progress" : "was waiting for its turn");
	if (recovery_drop_if_moved(task, false, &local) < 0) {
		enum task_event event =
			job_is_stopping(task->job) ? TASK_EVENT_STOPPED : task_outcome(task, local);

		g_propagate_error(error, g_steal_pointer(&local));
		return event;
	}
	task->step = "rolling back the steps of an earlier process";
	(void)recovery_rollback(task->agent, task->job, left, ROLLBACK_TRIES, &rollback_error);
	/* Steps that could not be rolled back are retried after the end of the job. */
	if (task->method->flags & METHOD_LEAVES_STEP) {
		if (rollback_error)
			g_warning("instance %s: %s; retrying", left->instance,
				  rollback_error->message);
		return TASK_EVENT_NOTHING_LEFT;
	}
	return recovery_decide(task, rollback_error, error);
}
