/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a task ends: what nova's decorators of the manager's methods do after the method.
 */
#ifndef NOVASNAP_AGENT_REPORT_END_H
#define NOVASNAP_AGENT_REPORT_END_H

#include "agent/task/task.h"

/* Reports what the task's state says is due and not done. `error` is NULL on success. What the
 * conductor or the store refuses is logged and counts as done. False when one of them could not be
 * reached: call it again later, with `is_retry`. */
bool report_end(struct task *task, const GError *error, bool is_retry);

#endif
