/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a request to a job in its thread, and what every method asks of its arguments.
 */
#include "agent/task.h"

#include <string.h>

static int task_run(struct task *task, GError **error)
{
	task->step = "starting the action's event";
	if ((task->method->flags & TASK_EVENT) && report_event_start(task, error) < 0)
		return -1;
	task->step = "beginning";
	return task->method->run(task, error);
}

static void job_run(struct job *job, void *opaque)
{
	struct task *task = opaque;
	g_autoptr(GError) error = NULL;

	task->job = job;
	rpc_request_ack(task->request);
	(void)task_run(task, &error);
	report_end(task, error);
}

static void job_drop(void *opaque)
{
	struct task *task = opaque;

	nova_instance_free(task->instance);
	rpc_request_free(task->request);
	g_free(task->roles);
	g_free(task);
}

static void fill_identity(struct task *task)
{
	const cJSON *fields = rpc_context_fields(task->context);
	const cJSON *roles = cJSON_GetObjectItemCaseSensitive(fields, "roles");
	int count = cJSON_IsArray(roles) ? cJSON_GetArraySize(roles) : 0;
	const cJSON *role;
	size_t n = 0;

	task->roles = g_new0(const char *, (size_t)count + 1);
	if (count > 0)
		cJSON_ArrayForEach (role, roles) {
			if (cJSON_IsString(role))
				task->roles[n++] = role->valuestring;
		}
	task->identity = (struct image_identity){
		.token = rpc_context_string(task->context, "auth_token"),
		.request_id = rpc_context_string(task->context, "request_id"),
		.user_id = rpc_context_string(task->context, "user_id"),
		.project_id = rpc_context_string(task->context, "project_id"),
		.roles = task->roles,
	};
}

static struct nova_instance *read_instance(const struct task_method *method,
					   const struct rpc_request *request, GError **error)
{
	cJSON *args = rpc_request_args(request);
	const cJSON *image_id = cJSON_GetObjectItemCaseSensitive(args, "image_id");

	if ((method->flags & TASK_IMAGE) &&
	    (!cJSON_IsString(image_id) || !g_uuid_string_is_valid(image_id->valuestring))) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
				    "its argument image_id is no uuid");
		return NULL;
	}
	if (method->check && method->check(args, error) < 0)
		return NULL;
	return nova_instance_take_from_args(args, error);
}

bool task_submit(struct manager *manager, const struct task_method *method,
		 struct rpc_request *request)
{
	static const struct job_ops ops = {job_run, job_drop};
	g_autoptr(GError) error = NULL;
	struct nova_instance *instance = read_instance(method, request, &error);
	struct task *task;

	if (!instance) {
		rpc_request_reject(request, error->message);
		return false;
	}
	task = g_new0(struct task, 1);
	task->method = method;
	task->manager = manager;
	task->request = request;
	task->context = rpc_request_context(request);
	task->args = rpc_request_args(request);
	task->instance = instance;
	task->step = "waiting for its turn";
	if (method->flags & TASK_IMAGE)
		task->image_id = task_arg_string(task, "image_id");
	atomic_init(&task->told, UINT64_MAX);
	fill_identity(task);
	jobs_submit(manager->jobs, nova_instance_uuid(instance), task->image_id, &ops, task);
	return true;
}

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
