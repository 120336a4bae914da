/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reports the end of a task: what nova's decorators of the manager's methods do after the method.
 */
#ifndef NOVASNAP_AGENT_REPORT_END_H
#define NOVASNAP_AGENT_REPORT_END_H

#include "agent/task/task.h"

/* Does the duties of the task's state that are still due. `error` is NULL on success. If the
 * conductor or the store rejects a request, that is logged, and the duty counts as done. Returns
 * false if one of them could not be reached: call it again later, with `is_retry`. */
bool report_end(struct task *task, const GError *error, bool is_retry);

#endif
