/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * [novasnap]report_progress: the percentage of a running upload in the field `progress` of the
 * instance's own record, which `openstack server show` displays of a server that is ACTIVE. A
 * thread beside the upload saves it, so the upload never waits for the conductor, and a save that
 * fails is only logged. It is 0 again at the end of the job, whatever that is (TASK_DUTY_PROGRESS).
 */
#ifndef NOVASNAP_AGENT_RECORD_PROGRESS_H
#define NOVASNAP_AGENT_RECORD_PROGRESS_H

#include "agent/task/task.h"

struct record_progress;

/* Starts the thread, in the job's thread. It saves the percentage of task->stored and task->total,
 * at most every 5 percent and every 5 seconds. NULL: it is not configured, the instance has no such
 * record, or the thread cannot be started, which is logged. */
struct record_progress *record_progress_start(struct task *task);
/* Ends the thread; a save under way is waited for, at most 5 seconds. Accepts NULL. */
void record_progress_stop(struct record_progress *progress);

/* Whether this or an earlier process may have saved a percentage. */
bool record_progress_was_saved(const struct task *task);
/* Saves 0, in the job's thread. Returns 0, or -1 with the conductor's error. */
int record_progress_clear(struct task *task, GError **error);

#endif
