/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * volume_snapshot_create and volume_snapshot_delete: external snapshots of a disk that Cinder keeps
 * in a file, at Cinder's word, which is told of the outcome
 * (nova.virt.libvirt.driver.volume_snapshot_create and _delete).
 */
#include <string.h>

#include "agent/task/task.h"

#define POLL_US (G_USEC_PER_SEC / 2)

static const char *info_of(const struct task *task, const char *info, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(task->args, info), name));
}

static void tell(struct task *task, const char *snapshot, const char *status)
{
	g_autoptr(GError) error = NULL;

	if (!task->manager->volumes)
		g_warning("instance %s: Cinder is not configured and not told that snapshot %s is "
			  "%s",
			  nova_instance_uuid(task->instance), snapshot, status);
	else if (task_step_begin(task, "volume-tell", NULL, &error) < 0 ||
		 cinder_snapshot_update(task->manager->volumes, &task->identity, snapshot, status,
					&error) < 0 ||
		 task_step_end(task, "volume-tell", &error) < 0)
		g_warning("instance %s: Cinder could not be told that snapshot %s is %s: %s",
			  nova_instance_uuid(task->instance), snapshot, status, error->message);
}

/* nova waits until Cinder has taken note; nothing of ours hangs on it, so a failure is no error. */
static void wait_until_noted(struct task *task, const char *snapshot)
{
	gint64 deadline = g_get_monotonic_time() +
			  (gint64)task->manager->config->quiesce_timeout_s * G_USEC_PER_SEC;

	while (task->manager->volumes && g_get_monotonic_time() < deadline &&
	       atomic_load(job_cancel_flag(task->job)) == 0) {
		g_autofree char *status = cinder_snapshot_status(task->manager->volumes,
								 &task->identity, snapshot, NULL);

		if (g_strcmp0(status, "creating") != 0)
			return;
		g_usleep(POLL_US);
	}
}

static int run_create(struct task *task, GError **error)
{
	const char *snapshot = info_of(task, "create_info", "snapshot_id");
	const struct virt_volume volume = {
		.uuid = nova_instance_uuid(task->instance),
		.volume_id = task_arg_string(task, "volume_id"),
		.guest_agent = nova_instance_image_flag(task->instance, "hw_qemu_guest_agent"),
		.require_quiesce = nova_instance_image_flag(task->instance, "os_require_quiesce"),
		.resuming = task->left != NULL,
		.cancel = job_cancel_flag(task->job),
	};

	task->step = "taking the volume's snapshot";
	if (task_step_begin(task, "volume-create", NULL, error) < 0 ||
	    virt_volume_snapshot_create(task->manager->host, &volume,
					info_of(task, "create_info", "new_file"), error) < 0 ||
	    task_step_end(task, "volume-create", error) < 0) {
		tell(task, snapshot, "error");
		return -1;
	}
	tell(task, snapshot, "creating");
	task->step = "waiting for Cinder";
	wait_until_noted(task, snapshot);
	return 0;
}

static int run_delete(struct task *task, GError **error)
{
	const char *snapshot = task_arg_string(task, "snapshot_id");
	const struct virt_volume volume = {
		.uuid = nova_instance_uuid(task->instance),
		.volume_id = task_arg_string(task, "volume_id"),
		.resuming = task->left != NULL,
		.cancel = job_cancel_flag(task->job),
	};

	task->step = "merging the volume's snapshot";
	if (task_step_begin(task, "volume-delete", NULL, error) < 0 ||
	    virt_volume_snapshot_delete(
		    task->manager->host, &volume, info_of(task, "delete_info", "file_to_merge"),
		    info_of(task, "delete_info", "merge_target_file"), error) < 0 ||
	    task_step_end(task, "volume-delete", error) < 0) {
		tell(task, snapshot, "error_deleting");
		return -1;
	}
	tell(task, snapshot, "deleting");
	return 0;
}

/* Names that Cinder gives are of files beside the volume's, or, of a base, whole paths. */
static int check_info(const cJSON *args, const char *name, const char *const *needed,
		      GError **error)
{
	const cJSON *info = cJSON_GetObjectItemCaseSensitive(args, name);
	const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(info, "type"));

	if (!cJSON_IsString(cJSON_GetObjectItemCaseSensitive(args, "volume_id"))) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
				    "its argument volume_id is no text");
		return -1;
	}
	if (g_strcmp0(type, "qcow2") != 0) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE,
			    "%s has the type \"%.64s\", and qcow2 alone is supported", name,
			    type ? type : "");
		return -1;
	}
	for (; *needed; needed++) {
		if (cJSON_IsString(cJSON_GetObjectItemCaseSensitive(info, *needed)))
			continue;
		g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE, "%s has no %s", name, *needed);
		return -1;
	}
	return 0;
}

static int check_create(const cJSON *args, GError **error)
{
	static const char *const needed[] = {"snapshot_id", "new_file", NULL};
	const char *file;

	if (check_info(args, "create_info", needed, error) < 0)
		return -1;
	file = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(args, "create_info"), "new_file"));
	if (*file && !strchr(file, '/'))
		return 0;
	g_set_error(
		error, RPC_ERROR, RPC_ERROR_DECODE,
		"create_info has the new_file \"%.255s\": it must be the name of a file beside the "
		"volume's",
		file);
	return -1;
}

static int check_delete(const cJSON *args, GError **error)
{
	static const char *const needed[] = {NULL};

	if (!cJSON_IsString(cJSON_GetObjectItemCaseSensitive(args, "snapshot_id"))) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
				    "its argument snapshot_id is no text");
		return -1;
	}
	return check_info(args, "delete_info", needed, error);
}

static void give_up_create(struct task *task)
{
	tell(task, info_of(task, "create_info", "snapshot_id"), "error");
}

static void give_up_delete(struct task *task)
{
	tell(task, task_arg_string(task, "snapshot_id"), "error_deleting");
}

const struct task_method method_volume_snapshot_create = {
	.name = "volume_snapshot_create",
	.run = run_create,
	.check = check_create,
	.give_up = give_up_create,
};

const struct task_method method_volume_snapshot_delete = {
	.name = "volume_snapshot_delete",
	.run = run_delete,
	.check = check_delete,
	.give_up = give_up_delete,
};
