/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a snapshot tells the conductor and the listeners, and how it ends. The order at the end is
 * that of the decorators around nova's snapshot_instance: delete_image_on_error,
 * wrap_instance_fault, wrap_instance_event, reverts_task_state, wrap_exception.
 */
#include "agent/failure.h"
#include "agent/snapshot-job.h"

#define PROGRESS_INTERVAL_US (G_USEC_PER_SEC / 2)

static bool has_conductor(const struct snapshot_job *snapshot)
{
	return snapshot->manager->config->control;
}

int report_event_start(struct snapshot_job *snapshot, GError **error)
{
	if (!has_conductor(snapshot))
		return 0;
	return nova_conductor_event_start(snapshot->manager->rpc, snapshot->context,
					  nova_instance_uuid(snapshot->instance), snapshot->event,
					  snapshot->manager->config->rpc.host, error);
}

int report_state(struct snapshot_job *snapshot, const char *task_state, const char *expected,
		 GError **error)
{
	nova_instance_set_task_state(snapshot->instance, task_state);
	if (has_conductor(snapshot) &&
	    nova_conductor_instance_save(snapshot->manager->rpc, snapshot->context,
					 snapshot->instance, expected, error) < 0)
		return -1;
	snapshot->task_state = task_state;
	g_info("instance %s: task state %s", nova_instance_uuid(snapshot->instance),
	       task_state ? task_state : "none");
	report_progress(snapshot, "state", NULL, 0, 0, true);
	return 0;
}

int report_power_state(struct snapshot_job *snapshot, int power_state, GError **error)
{
	nova_instance_set_power_state(snapshot->instance, power_state);
	if (!has_conductor(snapshot))
		return 0;
	if (nova_conductor_instance_save(snapshot->manager->rpc, snapshot->context,
					 snapshot->instance, NULL, error) < 0)
		return -1;
	return nova_conductor_instance_load_flavor(snapshot->manager->rpc, snapshot->context,
						   snapshot->instance, error);
}

void report_phase(struct snapshot_job *snapshot, const char *phase)
{
	g_autofree char *location = image_store_location(snapshot->manager->store);

	nova_notify_snapshot(snapshot->manager->rpc, &snapshot->manager->config->notify,
			     snapshot->context, snapshot->instance, snapshot->image_id, phase,
			     location);
}

void report_progress(struct snapshot_job *snapshot, const char *phase, const char *detail,
		     uint64_t done, uint64_t total, bool forced)
{
	struct nova_progress progress = {
		.instance_uuid = nova_instance_uuid(snapshot->instance),
		.image_id = snapshot->image_id,
		.method = snapshot->how,
		.phase = phase,
		.task_state = snapshot->task_state,
		.detail = detail,
		.done = done,
		.total = total,
	};
	long long now = g_get_monotonic_time();
	long long last = atomic_load(&snapshot->progress_at);

	if (!forced && (now - last < PROGRESS_INTERVAL_US ||
			!atomic_compare_exchange_strong(&snapshot->progress_at, &last, now)))
		return;
	nova_notify_progress(snapshot->manager->rpc, &snapshot->manager->config->notify,
			     snapshot->context, &progress);
}

static void delete_image(struct snapshot_job *snapshot, bool unless_active)
{
	struct image_store *store = snapshot->manager->store;
	const char *uuid = nova_instance_uuid(snapshot->instance);
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) error = NULL;

	if (unless_active) {
		if (image_store_get(store, &snapshot->identity, snapshot->image_id, &record,
				    &error) < 0)
			goto failed;
		if (g_strcmp0(record->status, "active") == 0)
			return;
	}
	if (image_store_delete(store, &snapshot->identity, snapshot->image_id, &error) == 0) {
		g_message("instance %s: image %s deleted", uuid, snapshot->image_id);
		return;
	}
failed:
	if (!g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND))
		g_warning("instance %s: image %s is left behind: %s", uuid, snapshot->image_id,
			  error->message);
}

/* Logs what the conductor could not be told; there is nobody else to tell. */
static void untold(struct snapshot_job *snapshot, const char *what, GError **error)
{
	g_warning("instance %s: %s: %s", nova_instance_uuid(snapshot->instance), what,
		  (*error)->message);
	g_clear_error(error);
}

static void create_fault(struct snapshot_job *snapshot, const struct nova_exception *exception,
			 const char *details)
{
	g_autofree char *message = failure_fault_message(exception);
	g_autoptr(GError) error = NULL;

	if (nova_conductor_fault_create(snapshot->manager->rpc, snapshot->context,
					nova_instance_uuid(snapshot->instance), exception->code,
					message, details, snapshot->manager->config->rpc.host,
					&error) < 0)
		untold(snapshot, "the fault could not be written", &error);
}

static void finish_event(struct snapshot_job *snapshot, const struct nova_exception *exception,
			 const char *details)
{
	g_autoptr(GError) error = NULL;

	if (nova_conductor_event_finish(snapshot->manager->rpc, snapshot->context,
					nova_instance_uuid(snapshot->instance), snapshot->event,
					exception ? exception->message : NULL,
					exception ? details : NULL, &error) < 0)
		untold(snapshot, "the action's event could not be finished", &error);
}

/* nova's _instance_update: the task state goes whatever it was. */
static void revert_task_state(struct snapshot_job *snapshot)
{
	g_autoptr(GError) error = NULL;

	if (report_state(snapshot, NULL, NULL, &error) == 0)
		return;
	if (g_error_matches(error, RPC_ERROR, RPC_ERROR_INSTANCE_NOT_FOUND))
		return;
	untold(snapshot, "the task state could not be reverted", &error);
}

/* The call's arguments with the instance as it is by now, as nova's wrap_exception shows it. */
static void notify_exception(struct snapshot_job *snapshot, const struct nova_exception *exception)
{
	cJSON *args = cJSON_Duplicate(rpc_request_args(snapshot->request), true);

	cJSON_ReplaceItemInObjectCaseSensitive(args, "instance",
					       nova_instance_object(snapshot->instance));
	nova_notify_exception(snapshot->manager->rpc, &snapshot->manager->config->notify,
			      snapshot->context, exception, args);
	cJSON_Delete(args);
}

static void end_failed(struct snapshot_job *snapshot, const GError *error, enum failure_kind kind)
{
	const char *uuid = nova_instance_uuid(snapshot->instance);
	struct nova_exception exception;
	g_autofree char *details = NULL;

	failure_describe(error, snapshot->function, &exception);
	details = g_strdup_printf("novasnapd on %s, %s: failed when %s: %s",
				  snapshot->manager->config->rpc.host, snapshot->function,
				  snapshot->step, error->message);
	g_warning("instance %s: snapshot into image %s failed when %s: %s", uuid,
		  snapshot->image_id, snapshot->step, error->message);
	delete_image(snapshot, false);
	if (has_conductor(snapshot)) {
		create_fault(snapshot, &exception, details);
		finish_event(snapshot, &exception, details);
	}
	if (kind != FAILURE_PREEMPTED)
		revert_task_state(snapshot);
	notify_exception(snapshot, &exception);
	report_progress(snapshot, "failed", error->message, 0, 0, true);
	rpc_request_fail(snapshot->request, exception.class_name, exception.module,
			 exception.message);
}

void report_end(struct snapshot_job *snapshot, const GError *error)
{
	const char *uuid = nova_instance_uuid(snapshot->instance);
	enum failure_kind kind = error ? failure_kind(error) : FAILURE_ERROR;

	if (error && (kind == FAILURE_ERROR || kind == FAILURE_PREEMPTED)) {
		end_failed(snapshot, error, kind);
		return;
	}
	if (error && kind == FAILURE_INSTANCE_GONE) {
		g_message("instance %s: went away when %s: %s", uuid, snapshot->step,
			  error->message);
		delete_image(snapshot, true);
	} else if (error) {
		g_message("instance %s: image %s went away when %s: %s", uuid, snapshot->image_id,
			  snapshot->step, error->message);
		revert_task_state(snapshot);
	}
	if (has_conductor(snapshot))
		finish_event(snapshot, NULL, NULL);
	report_progress(snapshot, error ? "failed" : "done", error ? error->message : NULL, 0, 0,
			true);
	rpc_request_reply(snapshot->request, NULL);
}
