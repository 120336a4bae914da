/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking up a job that the journal has open.
 */
#ifndef NOVASNAP_AGENT_RECOVERY_RESUME_H
#define NOVASNAP_AGENT_RECOVERY_RESUME_H

#include "agent/task/task.h"

/* In the thread of a task with a recovered job: rolls back its open steps, and decides what becomes
 * of it. Returns the event that is next for the task's state, as recovery_decide does. */
enum task_event recovery_begin(struct task *task, GError **error);

#endif
