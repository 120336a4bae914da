/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See args.h.
 */
#include "agent/task/args.h"

const char *task_arg_string(const struct task *task, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(task->args, name));
}

int task_arg_int(const struct task *task, const char *name, int fallback)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(task->args, name);

	return cJSON_IsNumber(item) ? item->valueint : fallback;
}

bool task_arg_bool(const struct task *task, const char *name, bool fallback)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(task->args, name);

	return cJSON_IsBool(item) ? cJSON_IsTrue(item) : fallback;
}

bool task_arg_is_rotation(const cJSON *item)
{
	/* valueint is clamped if the number does not fit into an int. */
	return cJSON_IsNumber(item) && item->valueint >= 0 && item->valuedouble == item->valueint;
}

cJSON *task_args_copy(const struct task *task)
{
	cJSON *args = cJSON_Duplicate(task->args, true);

	if (cJSON_HasObjectItem(args, "instance"))
		cJSON_ReplaceItemInObjectCaseSensitive(args, "instance",
						       nova_instance_object(task->instance));
	return args;
}
