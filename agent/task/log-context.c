/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See log-context.h.
 */
#include "agent/task/log-context.h"

static _Thread_local const struct task *current;

void log_context_set(const struct task *task)
{
	current = task;
}

const struct task *log_context_task(void)
{
	return current;
}
