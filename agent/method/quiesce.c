/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * quiesce_instance and unquiesce_instance: the guest's filesystems are frozen while Cinder takes
 * snapshots of its volumes (nova.compute.manager's methods of these names). They are thawed after
 * [novasnap]quiesce_timeout at the latest.
 */
#include "agent/method/methods.h"
#include "agent/task/step.h"

#define POLL_US (G_USEC_PER_SEC / 2)

static int check_agent(const struct task *task, GError **error)
{
	if (nova_instance_image_flag(task->instance, "hw_qemu_guest_agent"))
		return 0;
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_NO_AGENT,
			    "QEMU guest agent is not enabled: the instance's image lacks the "
			    "property hw_qemu_guest_agent");
	return -1;
}

static int run_quiesce(struct task *task, GError **error)
{
	task->step = "freezing the guest's filesystems";
	if (check_agent(task, error) < 0)
		return -1;
	/* Calls are not journaled: if novasnapd dies, novasnap-thaw thaws the guest. */
	if (task_step_begin(task, "quiesce", NULL, error) < 0 ||
	    virt_guest_freeze(task->agent->host, nova_instance_uuid(task->instance),
			      task->agent->config->quiesce_timeout_s, error) < 0)
		return -1;
	return task_step_end(task, "quiesce", error);
}

/* False if Cinder does not answer: the guest must not stay frozen because of that. */
static bool is_being_created(struct task *task, const char *snapshot)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *status = NULL;

	if (!task->agent->volumes) {
		g_warning("instance %s: Cinder is not configured: thawing the guest without "
			  "waiting for the volume snapshots",
			  nova_instance_uuid(task->instance));
		return false;
	}
	status = cinder_snapshot_status(task->agent->volumes, &task->identity, snapshot, &error);
	if (!status)
		g_warning("instance %s: volume snapshot %s: %s", nova_instance_uuid(task->instance),
			  snapshot, error->message);
	return g_strcmp0(status, "creating") == 0;
}

static void wait_for_snapshots(struct task *task)
{
	const atomic_int *cancel = job_abort_flag(task->job);
	gint64 deadline = g_get_monotonic_time() +
			  (gint64)task->agent->config->quiesce_timeout_s * G_USEC_PER_SEC;
	const cJSON *entry;

	cJSON_ArrayForEach (entry, cJSON_GetObjectItemCaseSensitive(task->args, "mapping")) {
		const char *type = cJSON_GetStringValue(
			cJSON_GetObjectItemCaseSensitive(entry, "source_type"));
		const char *snapshot = cJSON_GetStringValue(
			cJSON_GetObjectItemCaseSensitive(entry, "snapshot_id"));

		if (!snapshot || g_strcmp0(type, "snapshot") != 0)
			continue;
		while (is_being_created(task, snapshot)) {
			if (g_get_monotonic_time() > deadline || atomic_load(cancel) != 0) {
				g_warning("instance %s: volume snapshot %s is still being created; "
					  "thawing the guest nevertheless",
					  nova_instance_uuid(task->instance), snapshot);
				return;
			}
			g_usleep(POLL_US);
		}
	}
}

static int run_unquiesce(struct task *task, GError **error)
{
	task->step = "waiting for the volume snapshots";
	wait_for_snapshots(task);
	task->step = "thawing the guest's filesystems";
	if (task_step_begin(task, "unquiesce", NULL, error) < 0 ||
	    virt_guest_thaw(task->agent->host, nova_instance_uuid(task->instance), error) < 0)
		return -1;
	return task_step_end(task, "unquiesce", error);
}

const struct task_method method_quiesce_instance = {
	.name = "quiesce_instance",
	.run = run_quiesce,
};

const struct task_method method_unquiesce_instance = {
	.name = "unquiesce_instance",
	.run = run_unquiesce,
};
