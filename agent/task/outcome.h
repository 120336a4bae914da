/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which event of a task's state the end of its method is, by the error.
 */
#ifndef NOVASNAP_AGENT_OUTCOME_H
#define NOVASNAP_AGENT_OUTCOME_H

#include "agent/task/state.h"
#include "agent/task/task.h"

/* `error` NULL: TASK_EVENT_SUCCEEDED. nova.compute.manager tells the same errors apart; which of
 * them are no failure depends on the method. */
enum task_event task_outcome(const struct task *task, const GError *error);

#endif
