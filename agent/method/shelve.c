/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * shelve_instance: power off, snapshot, and the state `shelved` (nova.compute.manager
 * _shelve_instance). The state `shelving_offloading` is never set, even if shelved_offload_time
 * demands it: offloading removes the guest from the host, which novasnapd does not do, so nothing
 * would end that state.
 */
#include "agent/method/image-finish.h"
#include "agent/method/methods.h"
#include "agent/method/take-and-upload.h"
#include "agent/task/args.h"
#include "agent/task/report.h"
#include "agent/task/step.h"

#define STATE_SHELVING "shelving"
#define STATE_PENDING_UPLOAD "shelving_image_pending_upload"
#define STATE_UPLOADING "shelving_image_uploading"

static int power_off(struct task *task, GError **error)
{
	const struct config *config = task->agent->config;
	bool clean =
		task_arg_bool(task, "clean_shutdown", true) &&
		nova_instance_int(task->instance, "power_state", GUEST_NOSTATE) != GUEST_PAUSED;
	const char *limit =
		nova_instance_system_metadata(task->instance, "image_os_shutdown_timeout");
	guint64 seconds = config->shutdown_timeout_s;

	if (limit)
		(void)g_ascii_string_to_unsigned(limit, 10, 0, 24 * 3600, &seconds, NULL);
	if (report_refuse_shares(task, error) < 0)
		return -1;
	task->step = "powering off the guest";
	if (task_step_begin(task, "power-off", NULL, error) < 0 ||
	    virt_guest_power_off(task->agent->host, nova_instance_uuid(task->instance),
				 clean ? (unsigned)seconds : 0, config->shutdown_retry_interval_s,
				 job_abort_flag(task->job), error) < 0)
		return -1;
	return task_step_end(task, "power-off", error);
}

static int save_shelved(struct task *task, GError **error)
{
	struct nova_instance *instance = task->instance;
	g_autoptr(GDateTime) now = g_date_time_new_now_utc();
	g_autofree char *at = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S.%f");
	int state = task_power_state(task, error);

	if (state < 0)
		return -1;
	nova_instance_set_system_metadata(instance, "shelved_at", at);
	nova_instance_set_system_metadata(instance, "shelved_image_id", task->image_id);
	nova_instance_set_system_metadata(instance, "shelved_host", task->agent->config->rpc.host);
	nova_instance_set_vm_state(instance, "shelved");
	nova_instance_set_power_state(instance, state);
	return report_task_state(task, NULL, STATE_SHELVING "," STATE_UPLOADING, error);
}

static int run_shelve(struct task *task, GError **error)
{
	static const struct snapshot_states states = {STATE_SHELVING, STATE_PENDING_UPLOAD,
						      STATE_UPLOADING};

	task->task_state = STATE_SHELVING;
	if (report_load_flavor(task, error) < 0)
		return -1;
	report_exists(task);
	report_phase(task, "shelve", "start");
	if (power_off(task, error) < 0 || snapshot_take_and_upload(task, &states, error) < 0)
		return -1;
	/* Before the instance counts as shelved: its disk may be deleted from then on. */
	if (image_finish(task, false, error) < 0)
		return -1;
	task->step = "saving the state shelved";
	if (save_shelved(task, error) < 0)
		return -1;
	report_phase(task, "shelve", "end");
	return 0;
}

const struct task_method method_shelve_instance = {
	.name = "shelve_instance",
	.event = "compute_shelve_instance",
	.flags = METHOD_HAS_EVENT | METHOD_HAS_FAULT | METHOD_HAS_IMAGE,
	.task_states = "shelving,shelving_image_pending_upload,shelving_image_uploading",
	.run = run_shelve,
};
