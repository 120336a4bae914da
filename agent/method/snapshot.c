/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * snapshot_instance: nova.compute.manager.snapshot_instance.
 */
#include "agent/method/backup.h"
#include "agent/method/methods.h"
#include "agent/method/snapshot-instance.h"
#include "agent/task/args.h"
#include "agent/task/report-event.h"
#include "agent/task/report.h"

#define STATE_SNAPSHOT_PENDING "image_snapshot_pending"
#define STATE_SNAPSHOT "image_snapshot"
#define STATE_BACKUP "image_backup"

/* For requests of Folsom and Grizzly: the API has set the task state; a backup is a snapshot with a
 * rotation, and the end is notified after the rotation. */
static int run_plain_snapshot(struct task *task, GError **error)
{
	const char *type = task_arg_string(task, "image_type");
	bool is_backup = g_strcmp0(type, "backup") == 0;

	if (snapshot_instance_steps(task, is_backup ? STATE_BACKUP : STATE_SNAPSHOT, false, error) <
	    0)
		return -1;
	if (is_backup && backup_rotate(task, task_arg_string(task, "backup_type"),
				       task_arg_int(task, "rotation", 1), error) < 0)
		return -1;
	report_phase(task, "snapshot", "end");
	return 0;
}

static int run_snapshot(struct task *task, GError **error)
{
	if (nova_instance_is_plain(task->instance))
		return run_plain_snapshot(task, error);
	task->step = "accepting the cast";
	if (!task->is_claimed &&
	    report_task_state(task, STATE_SNAPSHOT, STATE_SNAPSHOT_PENDING, error) < 0)
		return -1;
	report_event_accept(task);
	return snapshot_instance_steps(task, STATE_SNAPSHOT, true, error);
}

/* nova raises ImageRotationNotAllowed and RotationRequiredForBackup. */
static int check_snapshot_args(const cJSON *args, GError **error)
{
	const char *type =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(args, "image_type"));
	const cJSON *rotation = cJSON_GetObjectItemCaseSensitive(args, "rotation");
	bool rotates = rotation && !cJSON_IsNull(rotation);

	if (rotates && (!task_arg_is_rotation(rotation) ||
			!cJSON_IsString(cJSON_GetObjectItemCaseSensitive(args, "backup_type")))) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
				    "a backup needs the arguments backup_type, a string, and "
				    "rotation, a non-negative whole number");
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
	.flags = METHOD_HAS_EVENT | METHOD_HAS_FAULT | METHOD_HAS_IMAGE | METHOD_TOLERATES_GONE,
	.task_states = "image_snapshot_pending,image_snapshot,image_pending_upload,image_uploading",
	.claim_state = STATE_SNAPSHOT,
	.claim_expected = STATE_SNAPSHOT_PENDING,
	.rest_function = "_snapshot_instance",
	.rest_expected_state = STATE_SNAPSHOT,
	.run = run_snapshot,
	.check_args = check_snapshot_args,
};
