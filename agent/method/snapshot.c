/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * snapshot_instance: nova.compute.manager.snapshot_instance.
 */
#include "agent/task/task.h"

#define STATE_SNAPSHOT_PENDING "image_snapshot_pending"
#define STATE_SNAPSHOT "image_snapshot"
#define STATE_BACKUP "image_backup"
#define STATE_PENDING_UPLOAD "image_pending_upload"
#define STATE_UPLOADING "image_uploading"

static int save_power_state(struct task *task, GError **error)
{
	int state;

	/* What is whole does not hang on a libvirt that is away. */
	if (task->whole)
		return report_load_flavor(task, error);
	state = task_power_state(task, error);
	if (state < 0)
		return -1;
	if (state != GUEST_RUNNING)
		g_message("instance %s: is not running (power state %d), its snapshot is taken "
			  "all the same",
			  nova_instance_uuid(task->instance), state);
	return report_power_state(task, state, error);
}

int snapshot_instance_steps(struct task *task, const char *first, GError **error)
{
	const struct snapshot_states states = {first, STATE_PENDING_UPLOAD, STATE_UPLOADING};

	task->step = "saving the power state";
	if (save_power_state(task, error) < 0)
		return -1;
	report_phase(task, "snapshot", "start");
	if (snapshot_take_and_upload(task, &states, error) < 0)
		return -1;
	task->step = "clearing the task state";
	if (report_state(task, NULL, STATE_UPLOADING, error) < 0)
		return -1;
	if (!nova_instance_is_plain(task->instance))
		report_phase(task, "snapshot", "end");
	return 0;
}

/* Folsom's and Grizzly's: the API has set the task state, a backup is a snapshot with a rotation,
 * and the end is told after it. */
static int plain_steps(struct task *task, GError **error)
{
	const char *type = task_arg_string(task, "image_type");
	bool is_backup = g_strcmp0(type, "backup") == 0;

	if (snapshot_instance_steps(task, is_backup ? STATE_BACKUP : STATE_SNAPSHOT, error) < 0)
		return -1;
	if (is_backup) {
		task->keep_image = true;
		task->step = "rotating the backups";
		if (backup_rotate(task, task_arg_string(task, "backup_type"),
				  task_arg_int(task, "rotation", 1), error) < 0)
			return -1;
	}
	report_phase(task, "snapshot", "end");
	return 0;
}

static int run(struct task *task, GError **error)
{
	if (nova_instance_is_plain(task->instance))
		return plain_steps(task, error);
	task->step = "accepting the cast";
	if (report_state(task, STATE_SNAPSHOT, STATE_SNAPSHOT_PENDING, error) < 0)
		return -1;
	return snapshot_instance_steps(task, STATE_SNAPSHOT, error);
}

/* What nova raised as ImageRotationNotAllowed and RotationRequiredForBackup. */
static int check(const cJSON *args, GError **error)
{
	const char *type =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(args, "image_type"));
	const cJSON *rotation = cJSON_GetObjectItemCaseSensitive(args, "rotation");
	bool rotates = rotation && !cJSON_IsNull(rotation);

	if (rotates && (!task_is_rotation(rotation) ||
			!cJSON_IsString(cJSON_GetObjectItemCaseSensitive(args, "backup_type")))) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
				    "a backup needs the arguments backup_type, a text, and "
				    "rotation, a whole number that is not negative");
		return -1;
	}
	if (!type || (g_str_equal(type, "snapshot") && !rotates) ||
	    (g_str_equal(type, "backup") && rotates))
		return 0;
	g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE,
		    "image_type \"%.64s\" %s rotation (RotationRequiredForBackup, "
		    "ImageRotationNotAllowed)",
		    type, rotates ? "takes no" : "needs a");
	return -1;
}

const struct task_method method_snapshot_instance = {
	.name = "snapshot_instance",
	.event = "compute_snapshot_instance",
	.flags = TASK_EVENT | TASK_FAULT | TASK_IMAGE | TASK_GONE_IS_NO_FAILURE,
	.states = "image_snapshot_pending,image_snapshot,image_pending_upload,image_uploading",
	.run = run,
	.check = check,
};
