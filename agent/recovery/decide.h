/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Decides how a recovered job continues, from its facts in the journal and the current states of
 * the instance and the image.
 */
#ifndef NOVASNAP_AGENT_RECOVERY_DECIDE_H
#define NOVASNAP_AGENT_RECOVERY_DECIDE_H

#include "agent/task/task.h"

/* Call it after the rollback; `rollback_error` is set if a step could not be rolled back. Queries
 * conductor and image store, and retries while they do not answer. Returns the next event for the
 * task's state: TASK_EVENT_RUN, TASK_EVENT_NOTHING_LEFT, TASK_EVENT_STOPPED, or the event of a
 * failure, with an error. */
enum task_event recovery_decide(struct task *task, const GError *rollback_error, GError **error);

#endif
