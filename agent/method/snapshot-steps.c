/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See snapshot-steps.h.
 */
#include "agent/method/snapshot-steps.h"

#include "agent/task/step.h"

static int begin_step(void *opaque, const char *step, const char *undo, GError **error)
{
	return task_step_begin(opaque, step, undo, error);
}

static int end_step(void *opaque, const char *step, GError **error)
{
	return task_step_end(opaque, step, error);
}

static void clear_step(void *opaque, const char *step)
{
	task_step_clear(opaque, step);
}

struct snapshot_steps snapshot_steps_of(struct task *task)
{
	return (struct snapshot_steps){begin_step, end_step, clear_step, task};
}
