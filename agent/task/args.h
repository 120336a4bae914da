/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The arguments of a task's request.
 */
#ifndef NOVASNAP_AGENT_ARGS_H
#define NOVASNAP_AGENT_ARGS_H

#include "agent/task/task.h"

/* An argument that is a string, a number or a boolean. If it is missing or has another type: NULL
 * or the fallback. The string is valid as long as the task. */
const char *task_arg_string(const struct task *task, const char *name);
int task_arg_int(const struct task *task, const char *name, int fallback);
bool task_arg_bool(const struct task *task, const char *name, bool fallback);

/* Whether an argument is valid as the number of backups to keep: a non-negative whole number. */
bool task_arg_is_rotation(const cJSON *item);

/* A copy of all arguments, with the instance in its current state, as nova's wrap_exception shows
 * them. The caller frees it. */
cJSON *task_args_copy(const struct task *task);

#endif
