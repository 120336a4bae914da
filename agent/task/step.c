/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See step.h.
 */
#include "agent/task/step.h"

#include "agent/task/fault-point.h"

int task_step_begin(struct task *task, const char *step, const char *undo, GError **error)
{
	if (undo && task->journal_job > 0 &&
	    journal_step_add(task->agent->journal, task->journal_job, step, undo, error) < 0)
		return -1;
	if (!fault_at(step, "before"))
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "injected fault before %s", step);
	return -1;
}

int task_step_end(struct task *task, const char *step, GError **error)
{
	(void)task;
	if (!fault_at(step, "after"))
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "injected fault after %s", step);
	return -1;
}

void task_step_clear(struct task *task, const char *step)
{
	g_autoptr(GError) error = NULL;

	if (task->journal_job > 0 &&
	    journal_step_clear(task->agent->journal, task->journal_job, step, &error) < 0)
		g_warning("instance %s: %s", nova_instance_uuid(task->instance), error->message);
}
