/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a task tells the conductor and the listeners.
 */
#include "agent/task/fault-point.h"
#include "agent/task/task.h"

#define PROGRESS_INTERVAL_US (G_USEC_PER_SEC / 2)
#define LOG_INTERVAL_US (10 * G_USEC_PER_SEC)
/* A rate over less time says nothing. */
#define RATE_S 0.5
#define MEBI (1024.0 * 1024.0)
/* Of a call whose reply may have been lost; each has rpc_response_timeout. */
#define SAVE_TRIES 3
#define PATIENCE_MS 2000

static bool has_conductor(const struct task *task)
{
	return task->manager->config->control;
}

bool report_is_cancelled(const struct task *task)
{
	int flag = task->job ? atomic_load(job_cancel_flag(task->job)) : JOB_GOES_ON;

	return flag == JOB_STOPPING || (flag == JOB_CANCELLED && !task->ending);
}

bool report_has_events(const struct task *task)
{
	/* Conductors of the time of plain instances have other calls for these. */
	return has_conductor(task) && !nova_instance_is_plain(task->instance);
}

int report_event_start(struct task *task, GError **error)
{
	if (!report_has_events(task))
		return 0;
	if (task_step_begin(task, "event", NULL, error) < 0 ||
	    nova_conductor_event_start(task->manager->rpc, task->context,
				       nova_instance_uuid(task->instance), task->method->event,
				       task->manager->config->rpc.host, error) < 0)
		return -1;
	return task_step_end(task, "event", error);
}

/* Whether the image waits for us, and the guest is here: then the snapshot is still wanted. */
static bool is_still_wanted(struct task *task)
{
	g_autoptr(image_record_t) record = NULL;
	const char *owner;

	if (!task->image_id || image_store_get(task->manager->store, &task->identity,
					       task->image_id, &record, NULL) < 0)
		return false;
	if (g_strcmp0(record->status, "queued") != 0 && g_strcmp0(record->status, "saving") != 0)
		return false;
	owner = cJSON_GetStringValue(
		cJSON_GetObjectItemCaseSensitive(record->document, "instance_uuid"));
	if (owner && !g_str_equal(owner, nova_instance_uuid(task->instance)))
		return false;
	return virt_guest_power_state(task->manager->host, nova_instance_uuid(task->instance),
				      NULL) >= 0;
}

/* A whole image is not given up for a conductor that does not answer; its end alone ends this. */
static bool is_tried_again(struct task *task, unsigned attempt)
{
	if (report_is_cancelled(task))
		return false;
	return attempt < SAVE_TRIES || (task->whole && job_wait_stop(task->job, PATIENCE_MS));
}

enum verdict { VERDICT_AGAIN, VERDICT_DONE, VERDICT_FAILED };

/*
 * What a save that failed means. A reply that was lost is asked for again; then a refusal that
 * names the state that we wanted is success. A task state that was cleared under way is what
 * nova-compute's own start does to instances that it finds busy: ours is set again where the
 * snapshot is still wanted, and where none is what we want, nobody minds.
 */
static enum verdict judge_save(struct task *task, const GError *error, const char *wanted,
			       const char *expected, bool was_lost, char **again)
{
	const char *actual;

	if (rpc_error_is_unanswered(error))
		return VERDICT_AGAIN;
	if (!g_error_matches(error, RPC_ERROR, RPC_ERROR_UNEXPECTED_TASK_STATE))
		return VERDICT_FAILED;
	actual = rpc_failure_actual_task_state(error);
	if (!actual)
		return VERDICT_FAILED;
	if (was_lost && wanted && g_str_equal(actual, wanted))
		return VERDICT_DONE;
	if (*actual || !expected || *again || (wanted && !is_still_wanted(task)))
		return VERDICT_FAILED;
	g_message("instance %s: its task state was cleared under way; it is set again to %s",
		  nova_instance_uuid(task->instance), wanted ? wanted : "none");
	*again = g_strdup_printf(",%s", expected);
	return VERDICT_AGAIN;
}

int report_lose(const char *step, GError **error)
{
	g_set_error(error, RPC_ERROR, RPC_ERROR_TIMEOUT, "a fault was put in at %s", step);
	return -1;
}

static int save_once(struct task *task, const char *wanted, const char *expected, GError **error)
{
	g_autofree char *step = g_strconcat("state-", wanted ? wanted : "none", NULL);

	if (fault_at(step, "before"))
		return report_lose(step, error);
	if (nova_conductor_instance_save(task->manager->rpc, task->context, task->instance,
					 expected, error) < 0)
		return -1;
	return fault_at(step, "after") ? report_lose(step, error) : 0;
}

static int save(struct task *task, const char *wanted, const char *expected, GError **error)
{
	g_autofree char *wide = NULL;
	g_autofree char *again = NULL;
	bool was_lost = false;

	if (!has_conductor(task))
		return 0;
	/* A life before this one may have come to any of them. */
	if (task->left && expected) {
		wide = g_strdup_printf("%s,%s", expected, task->method->states);
		expected = wide;
	}
	for (unsigned attempt = 1;; attempt++) {
		GError *local = NULL;

		if (save_once(task, wanted, again ? again : expected, &local) == 0)
			return 0;
		switch (judge_save(task, local, wanted, expected, was_lost, &again)) {
		case VERDICT_DONE:
			nova_instance_forget_changes(task->instance);
			g_error_free(local);
			return 0;
		case VERDICT_AGAIN:
			if (is_tried_again(task, attempt)) {
				was_lost = was_lost || rpc_error_is_unanswered(local);
				g_info("instance %s: %s; tried again",
				       nova_instance_uuid(task->instance), local->message);
				g_error_free(local);
				continue;
			}
			break;
		case VERDICT_FAILED:
		default:
			break;
		}
		g_propagate_error(error, local);
		return -1;
	}
}

int report_state(struct task *task, const char *task_state, const char *expected, GError **error)
{
	if (task->whole && task_state) {
		task->task_state = task_state;
		return 0;
	}
	nova_instance_set_task_state(task->instance, task_state);
	if (save(task, task_state, expected, error) < 0)
		return -1;
	task->task_state = task_state;
	g_info("instance %s: task state %s", nova_instance_uuid(task->instance),
	       task_state ? task_state : "none");
	report_progress(task, "state", NULL, 0, 0, true);
	return 0;
}

int report_vm_state(struct task *task, const char *vm_state, GError **error)
{
	nova_instance_set_vm_state(task->instance, vm_state);
	return save(task, NULL, NULL, error);
}

int report_power_state(struct task *task, int power_state, GError **error)
{
	nova_instance_set_power_state(task->instance, power_state);
	if (save(task, NULL, NULL, error) < 0)
		return -1;
	return report_load_flavor(task, error);
}

static int load(struct task *task,
		int (*call)(struct rpc *rpc, struct rpc_context *context,
			    struct nova_instance *instance, GError **error),
		GError **error)
{
	if (!has_conductor(task))
		return 0;
	for (unsigned attempt = 1;; attempt++) {
		GError *local = NULL;

		if (call(task->manager->rpc, task->context, task->instance, &local) == 0)
			return 0;
		if (!rpc_error_is_unanswered(local) || !is_tried_again(task, attempt)) {
			g_propagate_error(error, local);
			return -1;
		}
		g_error_free(local);
	}
}

int report_load_flavor(struct task *task, GError **error)
{
	return load(task, nova_conductor_instance_load_flavor, error);
}

int report_load_block_devices(struct task *task, GError **error)
{
	return load(task, nova_conductor_instance_load_block_devices, error);
}

void report_phase(struct task *task, const char *action, const char *phase)
{
	g_autofree char *location = image_store_location(task->manager->store);

	nova_notify_action(task->manager->rpc, &task->manager->config->notify, task->context,
			   task->instance, action, phase,
			   g_str_equal(action, "snapshot") ? task->image_id : NULL, location);
}

void report_exists(struct task *task)
{
	g_autofree char *location = image_store_location(task->manager->store);

	nova_notify_exists(task->manager->rpc, &task->manager->config->notify, task->context,
			   task->instance, task->manager->config->audit_period, location);
}

/* Of this attempt, in bytes a second; 0 while there is too little to tell. */
static double upload_rate(struct task *task, uint64_t done)
{
	double seconds =
		(double)(g_get_monotonic_time() - atomic_load(&task->upload_at)) / G_USEC_PER_SEC;

	return done > 0 && seconds > RATE_S ? (double)done / seconds : 0;
}

static void log_upload(struct task *task, const struct nova_progress *progress, long long now)
{
	long long last = atomic_load(&task->logged_at);

	if (progress->rate <= 0 || now - atomic_load(&task->upload_at) < LOG_INTERVAL_US ||
	    now - last < LOG_INTERVAL_US ||
	    !atomic_compare_exchange_strong(&task->logged_at, &last, now))
		return;
	g_message("instance %s: image %s: %.0f of %.0f MiB sent, %.0f MiB/s, %.0f s left",
		  progress->instance_uuid, progress->image_id, (double)progress->done / MEBI,
		  (double)progress->total / MEBI, progress->rate / MEBI,
		  (double)(progress->total - progress->done) / progress->rate);
}

void report_progress(struct task *task, const char *phase, const char *detail, uint64_t done,
		     uint64_t total, bool forced)
{
	struct nova_progress progress = {
		.instance_uuid = nova_instance_uuid(task->instance),
		.image_id = task->image_id,
		.method = task->how,
		.phase = phase,
		.task_state = task->task_state,
		.detail = detail,
		.done = done,
		.total = total,
		.rate = total > 0 ? upload_rate(task, done) : 0,
	};
	long long now = g_get_monotonic_time();
	long long last = atomic_load(&task->progress_at);

	if (!task->image_id)
		return;
	if (!forced && (now - last < PROGRESS_INTERVAL_US ||
			!atomic_compare_exchange_strong(&task->progress_at, &last, now)))
		return;
	log_upload(task, &progress, now);
	if (task->manager->progress)
		task->manager->progress(&progress, task->manager->progress_opaque);
	if (task->manager->rpc)
		nova_notify_progress(task->manager->rpc, &task->manager->config->notify,
				     task->context, &progress);
}
