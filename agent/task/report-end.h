/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a task ends: what nova's decorators of the manager's methods do after the method.
 */
#ifndef NOVASNAP_AGENT_REPORT_END_H
#define NOVASNAP_AGENT_REPORT_END_H

#include "agent/task/task.h"

/* Reports the end. `error` is NULL on success. What the conductor or the store refuses is logged.
 * False when one of them could not be reached: call it again later, and it reports what is left. */
bool report_end(struct task *task, const GError *error);

#endif
