/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Maps the error of a task's method to the event of the task's state.
 */
#ifndef NOVASNAP_AGENT_OUTCOME_H
#define NOVASNAP_AGENT_OUTCOME_H

#include "agent/task/state.h"
#include "agent/task/task.h"

/* `error` NULL: TASK_EVENT_SUCCEEDED. nova.compute.manager distinguishes the same errors; which of
 * them are no failure depends on the method. */
enum task_event task_outcome(const struct task *task, const GError *error);

#endif
