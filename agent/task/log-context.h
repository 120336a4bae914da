/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The task that the messages of a thread belong to. The log adds its request, instance, image and
 * step to them (agent/daemon/log.h).
 */
#ifndef NOVASNAP_AGENT_LOG_CONTEXT_H
#define NOVASNAP_AGENT_LOG_CONTEXT_H

#include "agent/task/task.h"

/* From now on the messages of this thread belong to the task; NULL: to none. The task must outlive
 * the thread, or the next call in it. */
void log_context_set(const struct task *task);
/* The task of this thread; NULL: none. */
const struct task *log_context_task(void);

#endif
