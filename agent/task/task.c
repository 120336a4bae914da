/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Creates a task from a request.
 */
#include "agent/task/task.h"

static struct nova_instance *take_instance(const struct task_method *method,
					   const struct rpc_request *request, GError **error)
{
	cJSON *args = rpc_request_args(request);
	const cJSON *image_id = cJSON_GetObjectItemCaseSensitive(args, "image_id");

	if ((method->flags & METHOD_HAS_IMAGE) &&
	    (!cJSON_IsString(image_id) || !g_uuid_string_is_valid(image_id->valuestring))) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
				    "the argument image_id is not a UUID");
		return NULL;
	}
	if (method->check_args && method->check_args(args, error) < 0)
		return NULL;
	return nova_instance_take_from_args(args, error);
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

struct task *task_new(struct agent *agent, const struct task_method *method,
		      struct rpc_request *request, GError **error)
{
	struct nova_instance *instance = take_instance(method, request, error);
	struct task *task;

	if (!instance)
		return NULL;
	task = g_new0(struct task, 1);
	task->method = method;
	task->agent = agent;
	task->request = request;
	task->context = rpc_request_context(request);
	task->args = rpc_request_args(request);
	task->instance = instance;
	task->release = nova_release_of_request(task->context, instance);
	task->state = task_state_new();
	task->created_at = g_get_monotonic_time();
	task->step = "waiting for its turn";
	if (method->flags & METHOD_HAS_IMAGE)
		task->image_id = cJSON_GetStringValue(
			cJSON_GetObjectItemCaseSensitive(task->args, "image_id"));
	atomic_init(&task->stored, UINT64_MAX);
	fill_identity(task);
	return task;
}

void task_free(struct task *task)
{
	if (!task)
		return;
	task_state_free(task->state);
	journal_job_free(task->recovered_job);
	nova_instance_free(task->instance);
	rpc_request_free(task->request);
	g_free(task->checksum);
	g_free(task->roles);
	g_free(task);
}

bool task_was_begun(const struct task *task)
{
	return task->recovered_job && task->recovered_job->runs > 0;
}

void task_describe(const struct task *task, cJSON *into)
{
	uint64_t total = atomic_load(&task->total);
	const char *snapshot_method = task->snapshot_method;

	if (task->journal_job > 0)
		cJSON_AddNumberToObject(into, "job", (double)task->journal_job);
	cJSON_AddStringToObject(into, "method", task->method->name);
	cJSON_AddStringToObject(into, "stage", task_stage_name(task_state_stage(task->state)));
	cJSON_AddStringToObject(into, "step", task->step);
	if (snapshot_method)
		cJSON_AddStringToObject(into, "snapshot_method", snapshot_method);
	cJSON_AddBoolToObject(into, "resumed", task->is_resumed);
	cJSON_AddNumberToObject(into, "seconds",
				(double)(g_get_monotonic_time() - task->created_at) /
					G_USEC_PER_SEC);
	if (total == 0)
		return;
	cJSON_AddNumberToObject(into, "done", (double)atomic_load(&task->stored));
	cJSON_AddNumberToObject(into, "total", (double)total);
}

int task_fail_cancelled(const struct task *task, GError **error)
{
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_CANCELLED,
			    job_is_cancelled(task->job)
				    ? "it was cancelled (novasnap cancel)"
				    : "it was cancelled because novasnapd is stopping");
	return -1;
}

int task_power_state(struct task *task, GError **error)
{
	g_autoptr(GError) local = NULL;
	int state = virt_guest_power_state(task->agent->host, nova_instance_uuid(task->instance),
					   &local);

	if (state >= 0)
		return state;
	if (g_error_matches(local, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN))
		return GUEST_NOSTATE;
	g_propagate_error(error, g_steal_pointer(&local));
	return -1;
}
