/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See snapshot-instance.h.
 */
#include "agent/method/snapshot-instance.h"

#include "agent/method/image-finish.h"
#include "agent/method/take-and-upload.h"
#include "agent/task/facts.h"
#include "agent/task/report.h"
#include "agent/task/want.h"

#define STATE_PENDING_UPLOAD "image_pending_upload"
#define STATE_UPLOADING "image_uploading"

static int save_power_state(struct task *task, GError **error)
{
	int state;

	/* A complete image does not need libvirt. */
	if (task_state_has_complete_image(task->state))
		return report_load_flavor(task, error);
	state = task_power_state(task, error);
	if (state < 0)
		return -1;
	if (state != GUEST_RUNNING)
		g_message("instance %s: the guest is not running (power state %d); taking its "
			  "snapshot nevertheless",
			  nova_instance_uuid(task->instance), state);
	return report_power_state(task, state, error);
}

/* If another operation has begun since, for example after a start of nova-compute has cleared the
 * task state, the image is complete nevertheless. */
static int clear_task_state(struct task *task, GError **error)
{
	g_autoptr(GError) local = NULL;

	task->step = "clearing the task state";
	if (report_task_state(task, NULL, STATE_UPLOADING, &local) == 0)
		return 0;
	if (!task_state_has_complete_image(task->state) ||
	    !g_error_matches(local, RPC_ERROR, RPC_ERROR_UNEXPECTED_TASK_STATE)) {
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	g_message("instance %s: image %s is complete; another operation has the instance: not "
		  "changing its task state: %s",
		  nova_instance_uuid(task->instance), task->image_id, local->message);
	nova_instance_forget_changes(task->instance);
	task_state_set_done(task->state, TASK_DUTY_TASK_STATE);
	task->task_state = NULL;
	return 0;
}

/* Up to the cleared task state. */
static int snapshot_and_clear(struct task *task, const char *first, GError **error)
{
	const struct snapshot_states states = {first, STATE_PENDING_UPLOAD, STATE_UPLOADING};
	g_autoptr(GError) local = NULL;

	task->step = "saving the power state";
	if (save_power_state(task, error) < 0)
		return -1;
	report_phase(task, "snapshot", "start");
	if (snapshot_take_and_upload(task, &states, &local) < 0) {
		snapshot_explain_missing_guest(task, &local);
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	if (clear_task_state(task, error) < 0)
		return -1;
	fact_note(task, FACT_STATE_CLEARED);
	if (!nova_instance_is_plain(task->instance))
		report_phase(task, "snapshot", "end");
	return 0;
}

int snapshot_instance_steps(struct task *task, const char *first, bool is_last, GError **error)
{
	bool is_cleared = task_state_has_complete_image(task->state) && task->recovered_job &&
			  fact_is_known(task->recovered_job, FACT_STATE_CLEARED);

	if (is_cleared)
		task->task_state = NULL;
	else if (snapshot_and_clear(task, first, error) < 0)
		return -1;
	return image_finish(task, is_last, error);
}
