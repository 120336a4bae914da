/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The steps of a task: its effects outside of this process. A step is journaled before its effect,
 * so that a later process can roll it back. In builds with `make FAULTS=1` each step is also a
 * fault point (fault-point.h).
 */
#ifndef NOVASNAP_AGENT_STEP_H
#define NOVASNAP_AGENT_STEP_H

#include "agent/task/task.h"

/* Call it before the effect. `undo` is JSON that rolls the step back (virt.h); "": the step is a
 * fact, which only recovery reads (facts.h); NULL: nothing is journaled. Returns 0, or -1 with an
 * error: then the caller must not make the effect. */
int task_step_begin(struct task *task, const char *step, const char *undo, GError **error);
/* Call it after the effect. -1 with an error if a fault was injected: the step then counts as
 * failed. */
int task_step_end(struct task *task, const char *step, GError **error);
/* Records that the step was rolled back, or that nothing is left of it. A failure is only logged:
 * recovery then checks the step again and finds nothing to do. */
void task_step_clear(struct task *task, const char *step);

#endif
