/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See report-end.h. The order is that of the decorators of nova's methods: delete_image_on_error,
 * wrap_instance_fault, wrap_instance_event, reverts_task_state, wrap_exception.
 */
#include "agent/task/report-end.h"

#include "agent/task/args.h"
#include "agent/task/claim-due.h"
#include "agent/task/facts.h"
#include "agent/task/fault-point.h"
#include "agent/task/location-step.h"
#include "agent/task/nova-exception.h"
#include "agent/task/record-progress.h"
#include "agent/task/report-event.h"
#include "agent/task/report.h"
#include "agent/task/step.h"

/* How far the clocks of this host and the conductor's may differ. */
#define FAULT_CLOCK_SKEW_S 300

/* The end being reported. */
struct end {
	struct task *task;
	const GError *error; /* NULL: success */
	bool is_failure;     /* the error is a failure for nova, too */
	bool is_retry;
	struct nova_exception exception; /* of a failure */
	char *details;			 /* of a failure, for the fault and the event */
};

static bool is_due(const struct end *end, enum task_duty duty)
{
	return task_state_due(end->task->state) & duty;
}

static void set_duty_done(const struct end *end, enum task_duty duty)
{
	task_state_set_done(end->task->state, duty);
}

/* Handles a failed duty. If the other side did not answer, the duty stays due. If it rejected the
 * request, that is only logged, and the duty counts as done. */
static void handle_undelivered(const struct end *end, enum task_duty duty, const char *what,
			       const GError *error)
{
	bool is_retried = rpc_error_is_unanswered(error) ||
			  g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE);

	if (!is_retried)
		set_duty_done(end, duty);
	g_warning("instance %s: %s: %s%s", nova_instance_uuid(end->task->instance), what,
		  error->message, is_retried ? "; it will be reported again" : "");
}

/* Whether an image that is not active has no data, and receives none. */
static bool is_unused(const struct image_record *record)
{
	return g_strcmp0(record->status, "queued") == 0 || g_strcmp0(record->status, "killed") == 0;
}

/* For TASK_IMAGE_DELETE_WRONG. */
static bool is_wrong(const struct task *task, const struct image_record *record)
{
	g_autoptr(GError) mismatch = NULL;

	if (g_strcmp0(record->status, "active") != 0)
		return is_unused(record) && !location_may_come(task, record);
	if (fact_verify_image(task, record, &mismatch) == 0)
		return false;
	g_message("instance %s: %s", nova_instance_uuid(task->instance), mismatch->message);
	return true;
}

/* 1: the image is deleted; 0: it is not, because it may be complete or another task's; -1 with an
 * error: the store did not answer. */
static int is_to_be_deleted(struct task *task, GError **error)
{
	enum task_image_deletion deletion = task_state_image_deletion(task->state);
	g_autoptr(image_record_t) record = NULL;

	if (deletion == TASK_IMAGE_DELETE)
		return 1;
	if (image_store_get(task->agent->store, &task->identity, task->image_id, &record, error) <
	    0)
		return -1;
	switch (deletion) {
	case TASK_IMAGE_DELETE_INACTIVE:
		return g_strcmp0(record->status, "active") != 0;
	case TASK_IMAGE_DELETE_UNUSED:
		return is_unused(record);
	case TASK_IMAGE_DELETE_WRONG:
		if (is_wrong(task, record))
			return 1;
		g_message("instance %s: image %s is %s and may be complete: not deleting it",
			  nova_instance_uuid(task->instance), task->image_id, record->status);
		return 0;
	case TASK_IMAGE_DELETE:
	default:
		return 1;
	}
}

static int delete_image_now(struct task *task, GError **error)
{
	if (fault_at("image-delete", "before")) {
		g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE, "injected fault");
		return -1;
	}
	if (image_store_delete(task->agent->store, &task->identity, task->image_id, error) < 0)
		return -1;
	if (fault_at("image-delete", "after"))
		return 0;
	g_message("instance %s: image %s deleted", nova_instance_uuid(task->instance),
		  task->image_id);
	return 0;
}

static void delete_image(const struct end *end)
{
	struct task *task = end->task;
	g_autofree char *what = g_strdup_printf("image %s is left behind", task->image_id);
	g_autoptr(GError) error = NULL;
	int rc = is_to_be_deleted(task, &error);

	if (rc > 0)
		rc = delete_image_now(task, &error);
	if (rc >= 0 || g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND))
		set_duty_done(end, TASK_DUTY_IMAGE);
	else
		handle_undelivered(end, TASK_DUTY_IMAGE, what, error);
}

static int create_fault_once(const struct end *end, const char *message, GError **error)
{
	struct task *task = end->task;

	task->fault_sent_at = g_get_real_time() / G_USEC_PER_SEC;
	fact_note_fault_sent(task);
	if (task_step_begin(task, "fault", NULL, error) < 0 ||
	    nova_conductor_fault_create(task->agent->rpc, task->context,
					nova_instance_uuid(task->instance), end->exception.code,
					message, end->details, task->agent->config->rpc.host,
					error) < 0)
		return -1;
	return task_step_end(task, "fault", error);
}

/* When the fault was sent without a reply; 0: it was not. */
static int64_t fault_sent_at(const struct task *task)
{
	if (task->fault_sent_at > 0 || !task->recovered_job)
		return task->fault_sent_at;
	return fact_fault_sent(task->recovered_job);
}

/* Whether a call without a reply may still wait at the broker, until it expires. A clock that was
 * set back does not prolong this. */
static bool may_fault_call_wait(const struct task *task)
{
	int64_t sent_at = fault_sent_at(task);
	int64_t now = g_get_real_time() / G_USEC_PER_SEC;

	return sent_at > 0 && now >= sent_at &&
	       now <= sent_at + task->agent->config->rpc.response_timeout_s;
}

/* After a lost reply, finds out whether the fault was inserted: each create inserts another one.
 * Returns 1 if it was, or if that cannot be known; 0 if it was not; -1 with an unanswered error if
 * it must be asked again. */
static int is_fault_inserted(const struct end *end, const char *message, GError **error)
{
	const struct task *task = end->task;
	const struct config *config = task->agent->config;
	int64_t sent_at = fault_sent_at(task);
	g_autoptr(GError) local = NULL;
	int found;

	if (sent_at == 0)
		return 0;
	found = nova_conductor_fault_exists(task->agent->rpc, task->context, task->release,
					    nova_instance_uuid(task->instance), end->exception.code,
					    message, config->rpc.host, sent_at - FAULT_CLOCK_SKEW_S,
					    &local);
	if (found >= 0)
		return found;
	if (rpc_error_is_unanswered(local)) {
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	g_warning("instance %s: it is unknown whether the fault was written, so it is not written "
		  "again: %s",
		  nova_instance_uuid(task->instance), local->message);
	return 1;
}

/* At most once. */
static void create_fault(const struct end *end)
{
	g_autofree char *message = nova_exception_fault_message(&end->exception);
	g_autoptr(GError) error = NULL;
	int inserted;

	/* The duty stays due. */
	if (may_fault_call_wait(end->task))
		return;
	inserted = is_fault_inserted(end, message, &error);
	if (inserted < 0 || (!inserted && create_fault_once(end, message, &error) < 0)) {
		handle_undelivered(end, TASK_DUTY_FAULT, "the fault could not be written", error);
		return;
	}
	set_duty_done(end, TASK_DUTY_FAULT);
	/* So that a restart does not write it twice. */
	fact_note(end->task, FACT_FAULT_REPORTED);
}

static void finish_event(const struct end *end)
{
	bool is_failure = end->is_failure && !report_event_is_accepted(end->task);
	g_autoptr(GError) error = NULL;

	if (report_event_finish(end->task, is_failure ? end->exception.message : NULL,
				is_failure ? end->details : NULL, &error) == 0)
		set_duty_done(end, TASK_DUTY_EVENT);
	else
		handle_undelivered(end, TASK_DUTY_EVENT, "the action's event could not be finished",
				   error);
}

/* The task states that may be cleared, which the caller frees; NULL: any. As nova's
 * _instance_update, which clears any. On a later try, or beside a nova-compute, another operation
 * may have changed it: then only a task state of the method is cleared. */
static char *states_to_clear(const struct end *end)
{
	const struct task *task = end->task;
	bool others_may_have_acted =
		end->is_retry || task->recovered_job || task->agent->config->beside;

	/* The first save may have been done. */
	if (claim_is_due(task))
		return g_strdup_printf("%s,%s", task->method->claim_expected,
				       task->method->claim_state);
	return others_may_have_acted ? g_strdup(task->method->task_states) : NULL;
}

static void clear_task_state(const struct end *end)
{
	struct task *task = end->task;
	g_autofree char *expected = states_to_clear(end);
	g_autoptr(GError) error = NULL;

	if (report_task_state(task, NULL, expected, &error) == 0 ||
	    g_error_matches(error, RPC_ERROR, RPC_ERROR_INSTANCE_NOT_FOUND))
		set_duty_done(end, TASK_DUTY_TASK_STATE);
	else
		handle_undelivered(end, TASK_DUTY_TASK_STATE,
				   "the task state could not be reverted", error);
}

static void clear_progress(const struct end *end)
{
	g_autoptr(GError) error = NULL;

	if (record_progress_clear(end->task, &error) == 0 ||
	    g_error_matches(error, RPC_ERROR, RPC_ERROR_INSTANCE_NOT_FOUND))
		set_duty_done(end, TASK_DUTY_PROGRESS);
	else
		handle_undelivered(end, TASK_DUTY_PROGRESS,
				   "the instance's progress could not be set to 0", error);
}

/* The arguments of nova's function, in its order: the instance after the image. */
static void add_rest_args(cJSON *args, const struct task_method *method)
{
	cJSON *instance = cJSON_DetachItemFromObjectCaseSensitive(args, "instance");

	cJSON_AddItemToObject(args, "instance", instance);
	cJSON_AddStringToObject(args, "expected_task_state", method->rest_expected_state);
}

static void notify_end(const struct end *end)
{
	struct task *task = end->task;
	const char *message = end->error ? end->error->message : NULL;

	if (end->is_failure) {
		cJSON *args = task_args_copy(task);

		if (report_event_is_accepted(task))
			add_rest_args(args, task->method);
		nova_notify_exception(task->agent->rpc, &task->agent->config->notify, task->context,
				      &end->exception, args);
		cJSON_Delete(args);
	}
	report_progress(task, end->error ? "failed" : "done", message, 0, 0, true);
	if (end->is_failure)
		rpc_request_fail(task->request, end->exception.class_name, end->exception.module,
				 end->exception.message);
	else
		rpc_request_reply(task->request, NULL);
	set_duty_done(end, TASK_DUTY_NOTIFICATION);
}

static void log_end(const struct end *end)
{
	const struct task *task = end->task;
	const char *uuid = nova_instance_uuid(task->instance);
	const char *message = end->error ? end->error->message : NULL;

	switch (task_state_stage(task->state)) {
	case STAGE_FAILED:
	case STAGE_REFUSED:
	case STAGE_NOT_OURS:
		g_warning("instance %s: %s%s%s failed while %s: %s", uuid, task->method->name,
			  task->image_id ? " into image " : "",
			  task->image_id ? task->image_id : "", task->step, message);
		break;
	case STAGE_INSTANCE_GONE:
		g_message("instance %s: no longer exists, noticed while %s: %s", uuid, task->step,
			  message);
		break;
	case STAGE_LEFT_TO_NOVA:
		g_message("instance %s: %s", uuid, message);
		break;
	case STAGE_IMAGE_GONE:
		g_message("instance %s: image %s no longer exists, noticed while %s: %s", uuid,
			  task->image_id, task->step, message);
		break;
	case STAGE_SUCCEEDED:
	case STAGE_WAITING:
	case STAGE_RECOVERING:
	case STAGE_RUNNING:
	case STAGE_CLOSED:
	case STAGE_LEFT_OPEN:
	case TASK_STAGES:
	default:
		break;
	}
}

/* The duties that nova's decorators of this method do not have, or that an earlier process has
 * done. */
static unsigned duties_not_needed(const struct task *task)
{
	unsigned flags = task->method->flags;
	bool has_events = report_has_events(task);
	bool has_fault =
		task->recovered_job && fact_is_known(task->recovered_job, FACT_FAULT_REPORTED);
	bool has_finished_event =
		task->recovered_job && fact_is_known(task->recovered_job, FACT_EVENT_FINISHED);
	unsigned duties = 0;

	if (!(flags & METHOD_HAS_IMAGE))
		duties |= TASK_DUTY_IMAGE;
	if (!(flags & METHOD_HAS_FAULT) || !has_events || has_fault)
		duties |= TASK_DUTY_FAULT;
	if (!(flags & METHOD_HAS_EVENT) || !has_events || has_finished_event)
		duties |= TASK_DUTY_EVENT;
	if (!(flags & METHOD_HAS_FAULT))
		duties |= TASK_DUTY_TASK_STATE;
	if (!record_progress_was_saved(task))
		duties |= TASK_DUTY_PROGRESS;
	return duties;
}

static bool is_failure_stage(enum task_stage stage)
{
	return stage == STAGE_FAILED || stage == STAGE_REFUSED || stage == STAGE_NOT_OURS;
}

bool report_end(struct task *task, const GError *error, bool is_retry)
{
	g_autofree char *details = NULL;
	struct end end = {
		.task = task,
		.error = error,
		.is_failure = error && is_failure_stage(task_state_stage(task->state)),
		.is_retry = is_retry,
	};

	if (end.is_failure) {
		nova_exception_from_error(error,
					  report_event_is_accepted(task)
						  ? task->method->rest_function
						  : task->method->name,
					  &end.exception);
		details = g_strdup_printf("novasnapd on %s, %s: failed while %s: %s",
					  task->agent->config->rpc.host, task->method->name,
					  task->step, error->message);
		end.details = details;
	}
	task_state_set_done(task->state, duties_not_needed(task));
	if (!is_retry)
		log_end(&end);
	/* Only for `novasnap watch`: nova gets the rest from nova-compute. */
	if (!is_retry && task_state_stage(task->state) == STAGE_LEFT_TO_NOVA)
		report_progress(task, "left_to_nova", error ? error->message : NULL, 0, 0, true);
	if (is_due(&end, TASK_DUTY_IMAGE))
		delete_image(&end);
	if (is_due(&end, TASK_DUTY_FAULT))
		create_fault(&end);
	if (is_due(&end, TASK_DUTY_EVENT))
		finish_event(&end);
	if (is_due(&end, TASK_DUTY_TASK_STATE))
		clear_task_state(&end);
	if (is_due(&end, TASK_DUTY_PROGRESS))
		clear_progress(&end);
	if (is_due(&end, TASK_DUTY_NOTIFICATION))
		notify_end(&end);
	return task_state_due(task->state) == 0;
}
