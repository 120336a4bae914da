/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal of a snapshot's steps.
 */
#ifndef NOVASNAP_AGENT_METHOD_SNAPSHOT_STEPS_H
#define NOVASNAP_AGENT_METHOD_SNAPSHOT_STEPS_H

#include "agent/task/task.h"

/* Functions that keep the steps of a snapshot in the task's journal (step.h). */
struct snapshot_steps snapshot_steps_of(struct task *task);

#endif
