/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pause, unpause, suspend and resume: a word to libvirt, one state saved, two notifications
 * (nova.compute.manager's methods of these names).
 */
#include "agent/recovery/recovery.h"
#include "agent/task/task.h"

#define OLD_VM_STATE "old_vm_state"
#define CHANGED "change-guest" /* a fact of the journal */

struct change {
	const char *action;	/* of the notifications */
	const char *task_state; /* in which the request was sent */
	int power_state;	/* afterwards, as libvirt tells it */
	const char *vm_state;	/* afterwards; NULL: what it was before it was suspended */
	bool error_on_failure;	/* the instance is in error when libvirt refuses */
	int (*apply)(struct virt_host *host, const char *uuid, GError **error);
};

/* nova's _error_out_instance_on_exception: the first error is what counts. */
static void error_out(struct task *task)
{
	g_autoptr(GError) local = NULL;

	if (report_vm_state(task, "error", &local) < 0)
		g_warning("instance %s: its vm_state could not be set to error: %s",
			  nova_instance_uuid(task->instance), local->message);
}

static int finish(struct task *task, const struct change *change, GError **error)
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
	return report_state(task, NULL, change->task_state, error);
}

/* By a life before this one, or by libvirt, which goes on with what it was asked for. */
static bool is_done(struct task *task, const struct change *change)
{
	g_autoptr(GError) error = NULL;

	if (!task->left || !recovery_knows(task->left, CHANGED))
		return false;
	if (virt_guest_wait_idle(task->manager->host, nova_instance_uuid(task->instance), &error) <
	    0)
		g_info("instance %s: %s", nova_instance_uuid(task->instance), error->message);
	return task_power_state(task, NULL) == change->power_state;
}

static int apply(struct task *task, const struct change *change, GError **error)
{
	if (task_step_begin(task, CHANGED, "", error) < 0 ||
	    change->apply(task->manager->host, nova_instance_uuid(task->instance), error) < 0)
		return -1;
	return task_step_end(task, CHANGED, error);
}

static int run_change(struct task *task, const struct change *change, GError **error)
{
	task->task_state = nova_instance_string(task->instance, "task_state");
	if (report_load_flavor(task, error) < 0)
		return -1;
	if (!change->vm_state && report_load_block_devices(task, error) < 0)
		return -1;
	report_phase(task, change->action, "start");
	task->step = "changing the guest";
	if (!is_done(task, change) && apply(task, change, error) < 0) {
		if (change->error_on_failure)
			error_out(task);
		return -1;
	}
	g_message("instance %s: %s done", nova_instance_uuid(task->instance), change->action);
	if (finish(task, change, error) < 0)
		return -1;
	report_phase(task, change->action, "end");
	return 0;
}

static int run_pause(struct task *task, GError **error)
{
	static const struct change change = {"pause",  "pausing", GUEST_PAUSED,
					     "paused", false,	  virt_guest_pause};

	return run_change(task, &change, error);
}

static int run_unpause(struct task *task, GError **error)
{
	static const struct change change = {"unpause", "unpausing", GUEST_RUNNING,
					     "active",	false,	     virt_guest_unpause};

	return run_change(task, &change, error);
}

static int run_suspend(struct task *task, GError **error)
{
	static const struct change change = {"suspend",	  "suspending", GUEST_SHUTDOWN,
					     "suspended", true,		virt_guest_suspend};
	const char *vm_state = nova_instance_string(task->instance, "vm_state");

	nova_instance_set_system_metadata(task->instance, OLD_VM_STATE,
					  vm_state ? vm_state : "active");
	return run_change(task, &change, error);
}

static int run_resume(struct task *task, GError **error)
{
	static const struct change change = {"resume", "resuming", GUEST_RUNNING,
					     NULL,     true,	   virt_guest_resume};

	return run_change(task, &change, error);
}

const struct task_method method_pause_instance = {
	.name = "pause_instance",
	.event = "compute_pause_instance",
	.flags = TASK_EVENT | TASK_FAULT,
	.states = "pausing",
	.run = run_pause,
};

const struct task_method method_unpause_instance = {
	.name = "unpause_instance",
	.event = "compute_unpause_instance",
	.flags = TASK_EVENT | TASK_FAULT,
	.states = "unpausing",
	.run = run_unpause,
};

const struct task_method method_suspend_instance = {
	.name = "suspend_instance",
	.event = "compute_suspend_instance",
	.flags = TASK_EVENT | TASK_FAULT,
	.states = "suspending",
	.run = run_suspend,
};

const struct task_method method_resume_instance = {
	.name = "resume_instance",
	.event = "compute_resume_instance",
	.flags = TASK_EVENT | TASK_FAULT,
	.states = "resuming",
	.run = run_resume,
};
