/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What every method asks of its task: the message's arguments, the guest's power state, and the
 * words for one that was cancelled.
 */
#include "agent/task/task.h"

const char *task_arg_string(const struct task *task, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(task->args, name));
}

int task_arg_int(const struct task *task, const char *name, int fallback)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(task->args, name);

	return cJSON_IsNumber(item) ? item->valueint : fallback;
}

bool task_is_rotation(const cJSON *item)
{
	/* One that does not fit into an int is no number of images either. */
	return cJSON_IsNumber(item) && item->valueint >= 0 && item->valuedouble == item->valueint;
}

bool task_arg_bool(const struct task *task, const char *name, bool fallback)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(task->args, name);

	return cJSON_IsBool(item) ? cJSON_IsTrue(item) : fallback;
}

int task_set_cancelled(const struct task *task, GError **error)
{
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_CANCELLED,
			    atomic_load(job_cancel_flag(task->job)) == JOB_CANCELLED
				    ? "somebody cancelled it (novasnap cancel)"
				    : "it was cancelled, for novasnapd is stopping");
	return -1;
}

int task_power_state(struct task *task, GError **error)
{
	g_autoptr(GError) local = NULL;
	int state = virt_guest_power_state(task->manager->host, nova_instance_uuid(task->instance),
					   &local);

	if (state >= 0)
		return state;
	if (g_error_matches(local, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN))
		return GUEST_NOSTATE;
	g_propagate_error(error, g_steal_pointer(&local));
	return -1;
}
