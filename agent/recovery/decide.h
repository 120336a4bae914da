/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What becomes of a recovered job: by what the earlier process noted of it, and by what the
 * instance and the image have come to.
 */
#ifndef NOVASNAP_AGENT_RECOVERY_DECIDE_H
#define NOVASNAP_AGENT_RECOVERY_DECIDE_H

#include "agent/task/task.h"

/* Call it after the rollback; `rollback_error` is why not every step was rolled back, NULL where
 * all were. Asks conductor and image store, for as long as they do not answer. Returns the event
 * that is next for the task's state: TASK_EVENT_RUN, TASK_EVENT_NOTHING_LEFT, TASK_EVENT_STOPPED,
 * or the event of a failure, with an error. */
enum task_event recovery_decide(struct task *task, const GError *rollback_error, GError **error);

#endif
