/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a request to a job in its thread, and what every method asks of its arguments.
 */
#include "agent/task/task.h"

#include <string.h>

#include "agent/recovery/recovery.h"
#include "agent/task/fault-point.h"

#define JOURNAL_RETRY_MS 1000
#define TELL_PAUSE_MS 5000
#define TELL_S (24 * 3600LL)

static int task_run(struct task *task, GError **error)
{
	task->step = "starting the action's event";
	/* A life before this one has started it, or else its end does. */
	if ((task->method->flags & TASK_EVENT) && !task->left &&
	    report_event_start(task, error) < 0)
		return -1;
	task->step = "beginning";
	return task->method->run(task, error);
}

/* Written before it is acked: from then on it is ours to remember. 1: it is to run; 0: it is not,
 * for it was there before, or all is about to end and the broker keeps it. */
static int note_cast(struct task *task)
{
	struct journal *journal = task->manager->journal;
	struct journal_cast cast = {
		.unique_id = rpc_request_unique_id(task->request),
		.method = task->method->name,
		.instance = nova_instance_uuid(task->instance),
		.image = task->image_id,
	};
	cJSON *instance = nova_instance_is_plain(task->instance)
				  ? NULL
				  : nova_instance_object(task->instance);
	char *text = rpc_request_text(task->request, instance);
	g_autoptr(GError) error = NULL;
	int rc;

	cast.message = text;
	(void)fault_at("cast", "before");
	rc = journal_add(journal, &cast, &task->journal_job, &error);
	if (rc < 0) {
		manager_hold(task->manager, error);
		while (rc < 0 && job_wait_stop(task->job, JOURNAL_RETRY_MS))
			rc = journal_add(journal, &cast, &task->journal_job, NULL);
		manager_release(task->manager);
	}
	if (rc == 0)
		g_message("instance %s: the cast %s came before, and is dropped", cast.instance,
			  cast.unique_id);
	(void)fault_at("cast", "after");
	if (rc >= 0)
		rpc_request_ack(task->request);
	cJSON_free(text);
	return MAX(rc, 0);
}

static bool is_journaled(const struct task *task)
{
	return task->manager->journal && !rpc_request_is_call(task->request);
}

/* Until all of its end is told, for a day; 0, or -1 when the next life is to tell it. */
static int tell_end(struct task *task, const GError *error)
{
	gint64 until = g_get_monotonic_time() + TELL_S * G_USEC_PER_SEC;

	while (!report_end(task, error)) {
		if (task->journal_job == 0 || g_get_monotonic_time() > until)
			return 0;
		if (!job_wait_stop(task->job, TELL_PAUSE_MS))
			return -1;
		task->late = true;
	}
	return 0;
}

static void end(struct task *task, const GError *error)
{
	g_autoptr(GError) local = NULL;

	/* A whole image that the conductor could not be told of is not to be given up, but told of
	 * by the next life. */
	if (error && task->whole && rpc_error_is_unanswered(error) && task->journal_job > 0 &&
	    job_is_stopping(task->job))
		return;
	if (error && task->journal_job > 0)
		recovery_note_failure(task, error);
	if (tell_end(task, error) < 0)
		return;
	if (task->journal_job > 0 && journal_end(task->manager->journal, task->journal_job,
						 error ? error->message : NULL, &local) < 0)
		g_warning("instance %s: %s; the job runs again at the next start",
			  nova_instance_uuid(task->instance), local->message);
}

static void job_run(struct job *job, void *opaque)
{
	struct task *task = opaque;
	g_autoptr(GError) error = NULL;
	int rc = 1;

	task->job = job;
	if (task->left)
		rc = recovery_begin(task, &error);
	else if (!is_journaled(task))
		rpc_request_ack(task->request);
	else if (note_cast(task) == 0)
		return;
	/* It is as it was found, but for what was taken back: the next life's. */
	if (rc < 0 && job_is_stopping(job))
		return;
	if (rc > 0)
		(void)task_run(task, &error);
	end(task, error);
}

static void job_drop(void *opaque)
{
	struct task *task = opaque;

	journal_job_free(task->left);
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

/* Takes both. */
static struct task *task_new(struct manager *manager, const struct task_method *method,
			     struct rpc_request *request, struct nova_instance *instance)
{
	struct task *task = g_new0(struct task, 1);

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
	return task;
}

static void tell(const void *opaque, cJSON *into)
{
	const struct task *task = opaque;
	uint64_t total = atomic_load(&task->total);

	cJSON_AddStringToObject(into, "method", task->method->name);
	cJSON_AddStringToObject(into, "step", task->step);
	if (total == 0)
		return;
	cJSON_AddNumberToObject(into, "done", (double)atomic_load(&task->told));
	cJSON_AddNumberToObject(into, "total", (double)total);
}

static void submit(struct task *task)
{
	static const struct job_ops ops = {job_run, job_drop, tell};

	jobs_submit(task->manager->jobs, nova_instance_uuid(task->instance), task->image_id, &ops,
		    task);
}

bool task_submit(struct manager *manager, const struct task_method *method,
		 struct rpc_request *request)
{
	g_autoptr(GError) error = NULL;
	struct nova_instance *instance = read_instance(method, request, &error);

	if (!instance) {
		rpc_request_reject(request, error->message);
		return false;
	}
	submit(task_new(manager, method, request, instance));
	return true;
}

void task_resume(struct manager *manager, struct journal_job *left)
{
	const struct task_method *method = manager_find_method(left->method);
	g_autoptr(GError) error = NULL;
	cJSON *message = rpc_body_decode(left->message, strlen(left->message), &error);
	struct rpc_request *request = NULL;
	struct nova_instance *instance = NULL;
	struct task *task;

	if (message) {
		rpc_message_prepare_replay(message);
		request = rpc_request_new_local(message);
		instance = method ? read_instance(method, request, &error) : NULL;
	}
	if (!instance) {
		g_warning("job %" G_GINT64_FORMAT " of the journal (%s) cannot be read: %s",
			  left->id, left->method, error ? error->message : "no such method");
		(void)journal_end(manager->journal, left->id, "it cannot be read", NULL);
		rpc_request_free(request);
		journal_job_free(left);
		return;
	}
	task = task_new(manager, method, request, instance);
	task->left = left;
	task->journal_job = left->id;
	submit(task);
}

int task_step_begin(struct task *task, const char *step, const char *undo, GError **error)
{
	if (undo && task->journal_job > 0 &&
	    journal_step(task->manager->journal, task->journal_job, step, undo, error) < 0)
		return -1;
	if (!fault_at(step, "before"))
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "a fault was put in before %s", step);
	return -1;
}

int task_step_end(struct task *task, const char *step, GError **error)
{
	(void)task;
	if (!fault_at(step, "after"))
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "a fault was put in after %s", step);
	return -1;
}

/* One that is not cleared is looked at again by recovery, which finds nothing to do. */
void task_step_over(struct task *task, const char *step)
{
	g_autoptr(GError) error = NULL;

	if (task->journal_job > 0 &&
	    journal_clear(task->manager->journal, task->journal_job, step, &error) < 0)
		g_warning("instance %s: %s", nova_instance_uuid(task->instance), error->message);
}
