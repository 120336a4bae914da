/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Resumes an open job from the journal.
 */
#ifndef NOVASNAP_AGENT_RECOVERY_RESUME_H
#define NOVASNAP_AGENT_RECOVERY_RESUME_H

#include "agent/task/task.h"

/* Runs in the thread of a task with a recovered job: rolls back its open steps, and decides how the
 * task continues. Returns the next event for the task's state, as recovery_decide does. */
enum task_event recovery_begin(struct task *task, GError **error);

#endif
