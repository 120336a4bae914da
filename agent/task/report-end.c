/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a task ends. The order is that of the decorators around nova's methods:
 * delete_image_on_error, wrap_instance_fault, wrap_instance_event, reverts_task_state,
 * wrap_exception. Whoever cannot be reached is told later.
 */
#include "agent/task/report-end.h"

#include "agent/task/args.h"
#include "agent/task/facts.h"
#include "agent/task/fault-point.h"
#include "agent/task/nova-exception.h"
#include "agent/task/report.h"
#include "agent/task/step.h"

/* Of a call whose reply may have been lost; each has rpc_response_timeout. */
#define FINISH_TRIES 3

/* What of a task's end was told. */
enum told {
	TOLD_FAILURE = 1 << 0, /* the log, the error notifications */
	TOLD_IMAGE = 1 << 1,   /* the image was deleted */
	TOLD_FAULT = 1 << 2,
	TOLD_EVENT = 1 << 3,
	TOLD_STATE = 1 << 4,
};

/* True once, or until it was told. */
static bool is_due(const struct task *task, enum told what)
{
	return !(task->delivered & what);
}

/* What was refused is logged, for there is nobody else to tell; who was not reached is told later.
 */
static void untold(struct task *task, enum told which, const char *what, GError **error)
{
	bool later = rpc_error_is_unanswered(*error) ||
		     g_error_matches(*error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE);

	if (later)
		task->end_pending = true;
	else
		task->delivered |= which;
	g_warning("instance %s: %s: %s%s", nova_instance_uuid(task->instance), what,
		  (*error)->message, later ? "; it is tried again" : "");
	g_clear_error(error);
}

static void delete_image(struct task *task, bool unless_active)
{
	struct image_store *store = task->agent->store;
	const char *uuid = nova_instance_uuid(task->instance);
	g_autofree char *what = g_strdup_printf("image %s is left behind", task->image_id);
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) error = NULL;

	if (unless_active) {
		if (image_store_get(store, &task->identity, task->image_id, &record, &error) < 0)
			goto failed;
		if (g_strcmp0(record->status, "active") == 0) {
			task->delivered |= TOLD_IMAGE;
			return;
		}
	}
	if (fault_at("image-delete", "before"))
		g_set_error_literal(&error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE, "a fault");
	else if (image_store_delete(store, &task->identity, task->image_id, &error) == 0 &&
		 !fault_at("image-delete", "after")) {
		g_message("instance %s: image %s deleted", uuid, task->image_id);
		task->delivered |= TOLD_IMAGE;
		return;
	}
failed:
	if (!error || g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND))
		task->delivered |= TOLD_IMAGE;
	else
		untold(task, TOLD_IMAGE, what, &error);
}

/* One more of them would be one too many. */
static void note_fault(struct task *task)
{
	g_autoptr(GError) error = NULL;

	task->delivered |= TOLD_FAULT;
	if (task->journal_job > 0 && journal_step_add(task->agent->journal, task->journal_job,
						      FACT_FAULT_REPORTED, "", &error) < 0)
		g_info("instance %s: %s", nova_instance_uuid(task->instance), error->message);
}

static void create_fault(struct task *task, const struct nova_exception *exception,
			 const char *details)
{
	g_autofree char *message = failure_fault_message(exception);
	g_autoptr(GError) error = NULL;

	if (task_step_begin(task, "fault", NULL, &error) < 0 ||
	    nova_conductor_fault_create(
		    task->agent->rpc, task->context, nova_instance_uuid(task->instance),
		    exception->code, message, details, task->agent->config->rpc.host, &error) < 0 ||
	    task_step_end(task, "fault", &error) < 0)
		untold(task, TOLD_FAULT, "the fault could not be written", &error);
	else
		note_fault(task);
}

static int finish_event_once(struct task *task, const struct nova_exception *exception,
			     const char *details, GError **error)
{
	if (fault_at("event-finish", "before"))
		return fault_lost_reply("event-finish", error);
	if (nova_conductor_event_finish(task->agent->rpc, task->context,
					nova_instance_uuid(task->instance), task->method->event,
					exception ? exception->message : NULL,
					exception ? details : NULL, error) < 0)
		return -1;
	return fault_at("event-finish", "after") ? fault_lost_reply("event-finish", error) : 0;
}

static bool is_without_event(const GError *error)
{
	const char *class_name, *module;

	return rpc_failure_from_error(error, &class_name, &module) &&
	       g_str_equal(class_name, "InstanceActionEventNotFound");
}

/* Finishing twice changes nothing, so it is tried until there is an answer. */
static void finish_event(struct task *task, const struct nova_exception *exception,
			 const char *details)
{
	for (unsigned attempt = 1;; attempt++) {
		g_autoptr(GError) error = NULL;

		if (finish_event_once(task, exception, details, &error) == 0) {
			task->delivered |= TOLD_EVENT;
			return;
		}
		/* It could not be started, or the life before this one died before it did. */
		if (attempt < FINISH_TRIES && is_without_event(error) &&
		    report_event_start(task, NULL) == 0)
			continue;
		if (rpc_error_is_unanswered(error) && attempt < FINISH_TRIES &&
		    report_may_retry(task))
			continue;
		untold(task, TOLD_EVENT, "the action's event could not be finished", &error);
		return;
	}
}

/* nova's _instance_update: the task state goes whatever it was. Later it goes if it is ours still.
 */
static void revert_task_state(struct task *task)
{
	g_autoptr(GError) error = NULL;

	if (report_task_state(task, NULL, task->recovering ? task->method->task_states : NULL,
			      &error) == 0 ||
	    g_error_matches(error, RPC_ERROR, RPC_ERROR_INSTANCE_NOT_FOUND))
		task->delivered |= TOLD_STATE;
	else
		untold(task, TOLD_STATE, "the task state could not be reverted", &error);
}

/* The call's arguments with the instance as it is by now, as nova's wrap_exception shows it. */
static void notify_exception(struct task *task, const struct nova_exception *exception)
{
	cJSON *args = task_args_copy(task);

	nova_notify_exception(task->agent->rpc, &task->agent->config->notify, task->context,
			      exception, args);
	cJSON_Delete(args);
}

/* As reverts_task_state: not where the state is somebody else's by now. */
static bool is_to_be_reverted(const GError *error)
{
	return !g_error_matches(error, RPC_ERROR, RPC_ERROR_UNEXPECTED_TASK_STATE) &&
	       !g_error_matches(error, RPC_ERROR, RPC_ERROR_UNEXPECTED_DELETING_TASK_STATE) &&
	       !g_error_matches(error, RPC_ERROR, RPC_ERROR_INSTANCE_NOT_FOUND);
}

static void end_failed(struct task *task, const GError *error)
{
	const char *uuid = nova_instance_uuid(task->instance);
	unsigned flags = task->method->flags;
	struct nova_exception exception;
	g_autofree char *details = NULL;

	failure_describe(error, task->method->name, &exception);
	details = g_strdup_printf("novasnapd on %s, %s: failed when %s: %s",
				  task->agent->config->rpc.host, task->method->name, task->step,
				  error->message);
	if (is_due(task, TOLD_FAILURE))
		g_warning("instance %s: %s%s%s failed when %s: %s", uuid, task->method->name,
			  task->image_id ? " into image " : "",
			  task->image_id ? task->image_id : "", task->step, error->message);
	/* An image that was whole before is not ours to delete, as nova would: the cast came twice.
	 */
	if ((flags & METHOD_HAS_IMAGE) && !task->keep_image && is_due(task, TOLD_IMAGE))
		delete_image(task, !task->data_sent || g_error_matches(error, IMAGE_ERROR,
								       IMAGE_ERROR_CONFLICT));
	if (report_has_events(task)) {
		/* wrap_instance_fault has none for an instance that is not there. */
		if ((flags & METHOD_HAS_FAULT) && !task->not_ours && is_due(task, TOLD_FAULT) &&
		    !g_error_matches(error, RPC_ERROR, RPC_ERROR_INSTANCE_NOT_FOUND))
			create_fault(task, &exception, details);
		if ((flags & METHOD_HAS_EVENT) && is_due(task, TOLD_EVENT))
			finish_event(task, &exception, details);
	}
	if ((flags & METHOD_HAS_FAULT) && !task->not_ours && is_to_be_reverted(error) &&
	    is_due(task, TOLD_STATE))
		revert_task_state(task);
	if (!is_due(task, TOLD_FAILURE))
		return;
	task->delivered |= TOLD_FAILURE;
	notify_exception(task, &exception);
	report_progress(task, "failed", error->message, 0, 0, true);
	rpc_request_fail(task->request, exception.class_name, exception.module, exception.message);
}

static void end_gone(struct task *task, const GError *error, enum failure_kind kind)
{
	const char *uuid = nova_instance_uuid(task->instance);

	if (kind == FAILURE_INSTANCE_GONE && is_due(task, TOLD_IMAGE)) {
		g_message("instance %s: went away when %s: %s", uuid, task->step, error->message);
		delete_image(task, true);
	} else if (kind == FAILURE_IMAGE_GONE && is_due(task, TOLD_STATE)) {
		g_message("instance %s: image %s went away when %s: %s", uuid, task->image_id,
			  task->step, error->message);
		revert_task_state(task);
	}
}

bool report_end(struct task *task, const GError *error)
{
	enum failure_kind kind = error ? failure_kind(error) : FAILURE_ERROR;

	task->ending = true;
	task->end_pending = false;
	if (task->recovered_job && fact_is_known(task->recovered_job, FACT_FAULT_REPORTED))
		task->delivered |= TOLD_FAULT;
	if (error && (kind == FAILURE_ERROR || !(task->method->flags & METHOD_TOLERATES_GONE))) {
		end_failed(task, error);
		return !task->end_pending;
	}
	if (error)
		end_gone(task, error, kind);
	if ((task->method->flags & METHOD_HAS_EVENT) && report_has_events(task) &&
	    is_due(task, TOLD_EVENT))
		finish_event(task, NULL, NULL);
	if (!is_due(task, TOLD_FAILURE))
		return !task->end_pending;
	task->delivered |= TOLD_FAILURE;
	report_progress(task, error ? "failed" : "done", error ? error->message : NULL, 0, 0, true);
	rpc_request_reply(task->request, NULL);
	return !task->end_pending;
}
