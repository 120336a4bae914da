/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See report.h.
 */
#include "agent/task/report.h"

#include "agent/task/claim-due.h"
#include "agent/task/fault-point.h"
#include "agent/task/record-progress.h"
#include "agent/task/step.h"
#include "agent/task/want.h"

#define PROGRESS_INTERVAL_US (G_USEC_PER_SEC / 2)
#define LOG_INTERVAL_US (10 * G_USEC_PER_SEC)
/* A rate over less time is not meaningful. */
#define RATE_S 0.5
#define MEBI (1024.0 * 1024.0)
/* How often a call is repeated if its reply is lost; each try waits for rpc_response_timeout. */
#define CALL_TRIES 3
/* Pause between two tries: the broker may answer at once that it cannot deliver the call. */
#define RETRY_PAUSE_MS 2000
/* How long image store and libvirt are asked whether a snapshot is still wanted. */
#define WANT_S 300

static bool has_conductor(const struct task *task)
{
	return task->agent->config->control;
}

bool report_may_retry(const struct task *task)
{
	bool may_be_cancelled =
		!task_state_is_ending(task->state) && !task_state_has_complete_image(task->state);

	return !job_is_out_of_time(task->job) && !(may_be_cancelled && job_is_cancelled(task->job));
}

bool report_has_events(const struct task *task)
{
	return has_conductor(task) && !nova_instance_is_plain(task->instance);
}

/* Asks again while image store or libvirt do not answer. */
static bool is_snapshot_wanted(struct task *task)
{
	gint64 until = g_get_monotonic_time() + WANT_S * G_USEC_PER_SEC;

	for (;;) {
		enum want want = snapshot_want(task, true);

		if (want != WANT_UNKNOWN)
			return want == WANT_YES;
		g_info("instance %s: it is unknown whether its snapshot is still wanted",
		       nova_instance_uuid(task->instance));
		if (g_get_monotonic_time() >= until || !job_wait(task->job, RETRY_PAUSE_MS))
			return false;
	}
}

/* A complete image is not given up because the conductor does not answer: the tries end only when
 * novasnapd stops. */
static bool wait_to_retry(struct task *task, unsigned attempt)
{
	if (!report_may_retry(task))
		return false;
	if (attempt < CALL_TRIES) {
		(void)job_wait_despite_cancel(task->job, RETRY_PAUSE_MS);
		return true;
	}
	return task_state_stage(task->state) == STAGE_RUNNING &&
	       task_state_has_complete_image(task->state) &&
	       job_wait_despite_cancel(task->job, RETRY_PAUSE_MS);
}

enum save_verdict { SAVE_AGAIN, SAVE_DONE, SAVE_FAILED };

/*
 * What to do after a failed save. If its reply was lost, the save is repeated. If the repeated save
 * is then rejected because the instance is in the wanted state, the first one had succeeded.
 * nova-compute clears the task states of busy instances when it starts: then the save is repeated,
 * with no task state as another expected one (*ret_expected), if the snapshot is still wanted or
 * the wanted state is none.
 */
static enum save_verdict classify_failed_save(struct task *task, const GError *error,
					      const char *wanted, const char *expected,
					      bool was_lost, char **ret_expected)
{
	const char *actual;

	if (rpc_error_is_unanswered(error))
		return SAVE_AGAIN;
	if (!g_error_matches(error, RPC_ERROR, RPC_ERROR_UNEXPECTED_TASK_STATE))
		return SAVE_FAILED;
	actual = rpc_failure_actual_task_state(error);
	if (!actual)
		return SAVE_FAILED;
	if (was_lost && wanted && g_str_equal(actual, wanted))
		return SAVE_DONE;
	if (*actual || !expected || *ret_expected || (wanted && !is_snapshot_wanted(task)))
		return SAVE_FAILED;
	g_message("instance %s: its task state was cleared by another process; setting it to %s "
		  "again",
		  nova_instance_uuid(task->instance), wanted ? wanted : "none");
	*ret_expected = g_strdup_printf(",%s", expected);
	return SAVE_AGAIN;
}

int report_save_once(struct task *task, const char *wanted, const char *expected, GError **error)
{
	g_autofree char *step = g_strconcat("state-", wanted ? wanted : "none", NULL);

	if (fault_at(step, "before"))
		return fault_lost_reply(step, error);
	if (nova_conductor_instance_save(task->agent->rpc, task->context, task->instance, expected,
					 error) < 0)
		return -1;
	return fault_at(step, "after") ? fault_lost_reply(step, error) : 0;
}

static int save_instance(struct task *task, const char *wanted, const char *expected,
			 GError **error)
{
	g_autofree char *any_of_method = NULL;
	g_autofree char *or_none = NULL;
	bool was_lost = false;

	if (!has_conductor(task))
		return 0;
	/* The earlier process may have reached any of them, but none before the first save. */
	if (task_was_begun(task) && !task->is_claimed && !claim_is_due(task) && expected) {
		any_of_method = g_strdup_printf("%s,%s", expected, task->method->task_states);
		expected = any_of_method;
	}
	for (unsigned attempt = 1;; attempt++) {
		GError *local = NULL;

		if (report_save_once(task, wanted, or_none ? or_none : expected, &local) == 0)
			return 0;
		switch (classify_failed_save(task, local, wanted, expected, was_lost, &or_none)) {
		case SAVE_DONE:
			nova_instance_forget_changes(task->instance);
			g_error_free(local);
			return 0;
		case SAVE_AGAIN:
			if (wait_to_retry(task, attempt)) {
				was_lost = was_lost || rpc_error_is_unanswered(local);
				g_info("instance %s: %s; retrying",
				       nova_instance_uuid(task->instance), local->message);
				g_error_free(local);
				continue;
			}
			break;
		case SAVE_FAILED:
		default:
			break;
		}
		g_propagate_error(error, local);
		return -1;
	}
}

int report_task_state(struct task *task, const char *task_state, const char *expected,
		      GError **error)
{
	/* A complete image needs no intermediate task states. */
	if (task_state_has_complete_image(task->state) && task_state) {
		task->task_state = task_state;
		return 0;
	}
	nova_instance_set_task_state(task->instance, task_state);
	/* In the same save. If it is refused, TASK_DUTY_PROGRESS remains. */
	if (!task_state && record_progress_was_saved(task))
		nova_instance_set_progress(task->instance, 0);
	if (save_instance(task, task_state, expected, error) < 0)
		return -1;
	if (!task_state)
		task_state_set_done(task->state, TASK_DUTY_PROGRESS);
	task->task_state = task_state;
	/* Another operation may have a task state from now on, which a failure must not clear. */
	if (!task_state)
		task_state_set_done(task->state, TASK_DUTY_TASK_STATE);
	g_info("instance %s: task state %s", nova_instance_uuid(task->instance),
	       task_state ? task_state : "none");
	report_progress(task, "state", NULL, 0, 0, true);
	return 0;
}

int report_vm_state(struct task *task, const char *vm_state, GError **error)
{
	nova_instance_set_vm_state(task->instance, vm_state);
	return save_instance(task, NULL, NULL, error);
}

int report_power_state(struct task *task, int power_state, GError **error)
{
	nova_instance_set_power_state(task->instance, power_state);
	if (save_instance(task, NULL, NULL, error) < 0)
		return -1;
	return report_load_flavor(task, error);
}

static int load_into_instance(struct task *task,
			      int (*call)(struct rpc *rpc, struct rpc_context *context,
					  const struct nova_release *release,
					  struct nova_instance *instance, GError **error),
			      GError **error)
{
	if (!has_conductor(task))
		return 0;
	for (unsigned attempt = 1;; attempt++) {
		GError *local = NULL;

		if (call(task->agent->rpc, task->context, task->release, task->instance, &local) ==
		    0)
			return 0;
		if (!rpc_error_is_unanswered(local) || !wait_to_retry(task, attempt)) {
			g_propagate_error(error, local);
			return -1;
		}
		g_error_free(local);
	}
}

int report_load_flavor(struct task *task, GError **error)
{
	return load_into_instance(task, nova_conductor_instance_load_flavor, error);
}

int report_load_block_devices(struct task *task, GError **error)
{
	return load_into_instance(task, nova_conductor_instance_load_block_devices, error);
}

int report_refuse_shares(struct task *task, GError **error)
{
	unsigned count;

	if (!nova_release_has(task->release, NOVA_HABIT_SHARES))
		return 0;
	if (load_into_instance(task, nova_conductor_instance_load_shares, error) < 0)
		return -1;
	count = nova_instance_share_count(task->instance);
	if (count == 0)
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
		    "the instance has %u shares attached, which novasnapd neither mounts nor "
		    "unmounts; detach them first",
		    count);
	return -1;
}

/* As Instance.get_shares, which is called for each notification. */
static void load_shares_to_notify(struct task *task)
{
	g_autoptr(GError) error = NULL;

	if (nova_notify_has_shares(&task->agent->config->notify, task->release) &&
	    load_into_instance(task, nova_conductor_instance_load_shares, &error) < 0)
		g_warning("instance %s: its notifications do not contain its shares: %s",
			  nova_instance_uuid(task->instance), error->message);
}

void report_phase(struct task *task, const char *action, const char *phase)
{
	g_autofree char *location = image_store_location(task->agent->store);

	load_shares_to_notify(task);
	nova_notify_action(task->agent->rpc, &task->agent->config->notify, task->release,
			   task->context, task->instance, action, phase,
			   g_str_equal(action, "snapshot") ? task->image_id : NULL, location);
}

void report_exists(struct task *task)
{
	g_autofree char *location = image_store_location(task->agent->store);

	load_shares_to_notify(task);
	nova_notify_exists(task->agent->rpc, &task->agent->config->notify, task->release,
			   task->context, task->instance, task->agent->config->audit_period,
			   location);
}

/* Of the current attempt, in bytes per second; 0 until the attempt has taken long enough. */
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
	g_message("instance %s: image %s: %.0f of %.0f MiB %s, %.0f MiB/s, %.0f s left",
		  progress->instance_uuid, progress->image_id, (double)progress->done / MEBI,
		  (double)progress->total / MEBI,
		  g_str_equal(progress->phase, "copying") ? "copied" : "sent",
		  progress->rate / MEBI,
		  (double)(progress->total - progress->done) / progress->rate);
}

void report_progress(struct task *task, const char *phase, const char *detail, uint64_t done,
		     uint64_t total, bool forced)
{
	struct nova_progress progress = {
		.instance_uuid = nova_instance_uuid(task->instance),
		.image_id = task->image_id,
		.method = task->snapshot_method,
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
	if (task->agent->progress)
		task->agent->progress(&progress, task->agent->progress_opaque);
	if (task->agent->rpc)
		nova_notify_progress(task->agent->rpc, &task->agent->config->notify, task->context,
				     &progress);
}
