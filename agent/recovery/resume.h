/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking up a job that the journal has open.
 */
#ifndef NOVASNAP_AGENT_RECOVERY_RESUME_H
#define NOVASNAP_AGENT_RECOVERY_RESUME_H

#include "agent/task/task.h"

/* In the thread of a task with a recovered job: rolls back its open steps, and decides what becomes
 * of it. Returns 1: run the method; 0: there is nothing left to do but to report success; -1 with
 * an error: the task fails or, when novasnapd stops, stays open for the next start. */
int recovery_begin(struct task *task, GError **error);

#endif
