/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * volume_snapshot_create and volume_snapshot_delete: external snapshots of a disk that Cinder
 * stores in a file. Cinder requests them, and gets the outcome
 * (nova.virt.libvirt.driver.volume_snapshot_create and _delete).
 */
#include <string.h>

#include "agent/method/methods.h"
#include "agent/task/args.h"
#include "agent/task/outcome.h"
#include "agent/task/step.h"
#include "agent/task/volume-result.h"

#define POLL_US (G_USEC_PER_SEC / 2)

static const char *info_string(const struct task *task, const char *info, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(task->args, info), name));
}

/* Not if the next process continues the job. */
static void report_failure(struct task *task, const char *snapshot, const char *status,
			   const GError *error)
{
	if (task_outcome(task, error) != TASK_EVENT_STOPPED)
		(void)volume_result_report(task, snapshot, status);
}

/* As nova does, until Cinder has processed the report. Nothing here depends on it, so a failure is
 * no error. */
static void wait_for_cinder(struct task *task, const char *snapshot)
{
	gint64 deadline = g_get_monotonic_time() +
			  (gint64)task->agent->config->quiesce_timeout_s * G_USEC_PER_SEC;

	while (task->agent->volumes && g_get_monotonic_time() < deadline &&
	       atomic_load(job_abort_flag(task->job)) == 0) {
		g_autofree char *status = cinder_snapshot_status(task->agent->volumes,
								 &task->identity, snapshot, NULL);

		if (g_strcmp0(status, "creating") != 0)
			return;
		g_usleep(POLL_US);
	}
}

static int run_create(struct task *task, GError **error)
{
	const char *snapshot = info_string(task, "create_info", "snapshot_id");
	/* An earlier process has taken it: the guest may have changed since. */
	enum volume_result known = volume_result_journaled(task, "creating");
	const struct virt_volume volume = {
		.uuid = nova_instance_uuid(task->instance),
		.volume_id = task_arg_string(task, "volume_id"),
		.guest_agent = nova_instance_image_flag(task->instance, "hw_qemu_guest_agent"),
		.require_quiesce = nova_instance_image_flag(task->instance, "os_require_quiesce"),
		.resuming = task_was_begun(task),
		.cancel = job_abort_flag(task->job),
	};

	if (known == VOLUME_RESULT_ENDED)
		return 0;
	task->step = "taking the volume's snapshot";
	if (known == VOLUME_RESULT_UNKNOWN &&
	    (task_step_begin(task, "volume-create", NULL, error) < 0 ||
	     virt_volume_snapshot_create(task->agent->host, &volume,
					 info_string(task, "create_info", "new_file"), error) < 0 ||
	     task_step_end(task, "volume-create", error) < 0)) {
		report_failure(task, snapshot, "error", *error);
		return -1;
	}
	if (volume_result_report(task, snapshot, "creating")) {
		task->step = "waiting for Cinder";
		wait_for_cinder(task, snapshot);
	}
	return 0;
}

static int run_delete(struct task *task, GError **error)
{
	const char *snapshot = task_arg_string(task, "snapshot_id");
	enum volume_result known = volume_result_journaled(task, "deleting");
	const struct virt_volume volume = {
		.uuid = nova_instance_uuid(task->instance),
		.volume_id = task_arg_string(task, "volume_id"),
		.resuming = task_was_begun(task),
		.cancel = job_abort_flag(task->job),
	};

	if (known == VOLUME_RESULT_ENDED)
		return 0;
	task->step = "merging the volume's snapshot";
	if (known == VOLUME_RESULT_UNKNOWN &&
	    (task_step_begin(task, "volume-delete", NULL, error) < 0 ||
	     virt_volume_snapshot_delete(
		     task->agent->host, &volume, info_string(task, "delete_info", "file_to_merge"),
		     info_string(task, "delete_info", "merge_target_file"), error) < 0 ||
	     task_step_end(task, "volume-delete", error) < 0)) {
		report_failure(task, snapshot, "error_deleting", *error);
		return -1;
	}
	(void)volume_result_report(task, snapshot, "deleting");
	return 0;
}

/* Cinder's file names are relative to the volume's folder; that of a base file may be an absolute
 * path. */
static int check_info(const cJSON *args, const char *name, const char *const *needed,
		      GError **error)
{
	const cJSON *info = cJSON_GetObjectItemCaseSensitive(args, name);
	const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(info, "type"));

	if (!cJSON_IsString(cJSON_GetObjectItemCaseSensitive(args, "volume_id"))) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
				    "the argument volume_id is not a string");
		return -1;
	}
	if (g_strcmp0(type, "qcow2") != 0) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE,
			    "%s has the type \"%.64s\": only qcow2 is supported", name,
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

static int check_create_args(const cJSON *args, GError **error)
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

static int check_delete_args(const cJSON *args, GError **error)
{
	static const char *const needed[] = {NULL};

	if (!cJSON_IsString(cJSON_GetObjectItemCaseSensitive(args, "snapshot_id"))) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
				    "the argument snapshot_id is not a string");
		return -1;
	}
	return check_info(args, "delete_info", needed, error);
}

static void give_up_create(struct task *task)
{
	volume_result_give_up(task, info_string(task, "create_info", "snapshot_id"), "error");
}

static void give_up_delete(struct task *task)
{
	volume_result_give_up(task, task_arg_string(task, "snapshot_id"), "error_deleting");
}

const struct task_method method_volume_snapshot_create = {
	.name = "volume_snapshot_create",
	.run = run_create,
	.check_args = check_create_args,
	.give_up = give_up_create,
};

const struct task_method method_volume_snapshot_delete = {
	.name = "volume_snapshot_delete",
	.run = run_delete,
	.check_args = check_delete_args,
	.give_up = give_up_delete,
};
