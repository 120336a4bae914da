/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pause_instance, unpause_instance, suspend_instance and resume_instance: one libvirt call, one
 * saved state, two notifications (nova.compute.manager's methods of these names).
 */
#include "agent/method/methods.h"
#include "agent/task/facts.h"
#include "agent/task/report.h"
#include "agent/task/step.h"

#define OLD_VM_STATE "old_vm_state"

struct power_change {
	const char *action;	/* in the notifications' names */
	const char *task_state; /* when the request is sent */
	int power_state;	/* afterwards, as reported by libvirt */
	const char *vm_state;	/* afterwards; NULL: the state before the guest was suspended */
	bool error_on_failure;	/* set the instance's vm_state to error if libvirt fails */
	int (*apply)(struct virt_host *host, const char *uuid, GError **error);
};

/* nova's _error_out_instance_on_exception. If this fails, that is only logged; the task fails with
 * the method's error. */
static void set_vm_state_error(struct task *task)
{
	g_autoptr(GError) local = NULL;

	if (report_vm_state(task, "error", &local) < 0)
		g_warning("instance %s: cannot set its vm_state to error: %s",
			  nova_instance_uuid(task->instance), local->message);
}

static int save_new_state(struct task *task, const struct power_change *change, GError **error)
{
	g_autofree char *vm_state = g_strdup(change->vm_state);
	int state = task_power_state(task, error);

	if (state < 0)
		return -1;
	nova_instance_set_power_state(task->instance, state);
	if (!vm_state) {
		vm_state = g_strdup(nova_instance_system_metadata(task->instance, OLD_VM_STATE));
		nova_instance_set_system_metadata(task->instance, OLD_VM_STATE, NULL);
	}
	nova_instance_set_vm_state(task->instance, vm_state ? vm_state : "active");
	task->step = "saving the new state";
	return report_task_state(task, NULL, change->task_state, error);
}

/* An earlier process requested the change from libvirt, which may have completed it since. */
static bool is_changed_already(struct task *task, const struct power_change *change)
{
	g_autoptr(GError) error = NULL;

	if (!task->recovered_job || !fact_is_known(task->recovered_job, FACT_GUEST_CHANGED))
		return false;
	if (virt_guest_wait_idle(task->agent->host, nova_instance_uuid(task->instance), &error) < 0)
		g_info("instance %s: %s", nova_instance_uuid(task->instance), error->message);
	return task_power_state(task, NULL) == change->power_state;
}

static int change_power_state(struct task *task, const struct power_change *change, GError **error)
{
	if (task_step_begin(task, FACT_GUEST_CHANGED, "", error) < 0 ||
	    change->apply(task->agent->host, nova_instance_uuid(task->instance), error) < 0)
		return -1;
	return task_step_end(task, FACT_GUEST_CHANGED, error);
}

static int run_power_change(struct task *task, const struct power_change *change, GError **error)
{
	task->task_state = nova_instance_string(task->instance, "task_state");
	if (report_load_flavor(task, error) < 0)
		return -1;
	if (!change->vm_state &&
	    (report_load_block_devices(task, error) < 0 || report_refuse_shares(task, error) < 0))
		return -1;
	report_phase(task, change->action, "start");
	task->step = "changing the guest";
	if (!is_changed_already(task, change) && change_power_state(task, change, error) < 0) {
		if (change->error_on_failure)
			set_vm_state_error(task);
		return -1;
	}
	g_message("instance %s: %s done", nova_instance_uuid(task->instance), change->action);
	if (save_new_state(task, change, error) < 0)
		return -1;
	report_phase(task, change->action, "end");
	return 0;
}

static int run_pause(struct task *task, GError **error)
{
	static const struct power_change change = {"pause",  "pausing", GUEST_PAUSED,
						   "paused", false,	virt_guest_pause};

	return run_power_change(task, &change, error);
}

static int run_unpause(struct task *task, GError **error)
{
	static const struct power_change change = {"unpause", "unpausing", GUEST_RUNNING,
						   "active",  false,	   virt_guest_unpause};

	return run_power_change(task, &change, error);
}

static int run_suspend(struct task *task, GError **error)
{
	static const struct power_change change = {"suspend",	"suspending", GUEST_SHUTDOWN,
						   "suspended", true,	      virt_guest_suspend};
	const char *vm_state = nova_instance_string(task->instance, "vm_state");

	nova_instance_set_system_metadata(task->instance, OLD_VM_STATE,
					  vm_state ? vm_state : "active");
	return run_power_change(task, &change, error);
}

static int run_resume(struct task *task, GError **error)
{
	static const struct power_change change = {"resume", "resuming", GUEST_RUNNING,
						   NULL,     true,	 virt_guest_resume};

	return run_power_change(task, &change, error);
}

const struct task_method method_pause_instance = {
	.name = "pause_instance",
	.event = "compute_pause_instance",
	.flags = METHOD_HAS_EVENT | METHOD_HAS_FAULT,
	.task_states = "pausing",
	.run = run_pause,
};

const struct task_method method_unpause_instance = {
	.name = "unpause_instance",
	.event = "compute_unpause_instance",
	.flags = METHOD_HAS_EVENT | METHOD_HAS_FAULT,
	.task_states = "unpausing",
	.run = run_unpause,
};

const struct task_method method_suspend_instance = {
	.name = "suspend_instance",
	.event = "compute_suspend_instance",
	.flags = METHOD_HAS_EVENT | METHOD_HAS_FAULT,
	.task_states = "suspending",
	.run = run_suspend,
};

const struct task_method method_resume_instance = {
	.name = "resume_instance",
	.event = "compute_resume_instance",
	.flags = METHOD_HAS_EVENT | METHOD_HAS_FAULT,
	.task_states = "resuming",
	.run = run_resume,
};
