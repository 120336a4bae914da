/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See take-and-upload.h. The image contains the disk at a single point in time. If that is no
 * longer possible, because the guest was started or stopped before the last byte was read, a new
 * snapshot is taken and uploaded: an image never mixes two points in time.
 */
#include "agent/method/take-and-upload.h"

#include "agent/method/abort-monitor.h"
#include "agent/method/image-encode.h"
#include "agent/method/image-finish.h"
#include "agent/method/image-metadata.h"
#include "agent/method/image-send.h"
#include "agent/task/facts.h"
#include "agent/task/record-progress.h"
#include "agent/task/report.h"
#include "agent/task/step.h"
#include "agent/task/want.h"

#define STATE_PENDING_UPLOAD "image_pending_upload"
#define STATE_UPLOADING "image_uploading"
/* The maximum number of snapshots taken for one image. */
#define ATTEMPTS_MAX 3

/* One image, which may take several snapshots. */
struct image_job {
	struct task *task;
	const struct snapshot_states *states;
	struct abort_monitor *monitor;
	char *name;		 /* the image's name; NULL: not read yet */
	char *hash_algo;	 /* NULL: the default */
	struct image_base *base; /* NULL: not read yet */
	/* The task states that an earlier attempt has already saved. */
	bool announced;
	bool uploading;
};

/* Reads the name in the image's record. A directory store has no record before the upload. */
static int read_image_name(struct image_job *image, GError **error)
{
	struct task *task = image->task;
	struct agent *agent = task->agent;
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) local = NULL;

	if (image_store_get(agent->store, &task->identity, task->image_id, &record, &local) == 0) {
		image->name = g_strdup(record->name);
		abort_monitor_watch_image(image->monitor);
		return 0;
	}
	if (agent->config->image.directory &&
	    g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND)) {
		const char *name = nova_instance_string(task->instance, "display_name");

		image->name = g_strdup_printf("snapshot of %s", name ? name : "a guest");
		return 0;
	}
	g_propagate_error(error, g_steal_pointer(&local));
	return -1;
}

/* [novasnap]hash_algo, or the algorithm with which the store hashed the instance's base image. The
 * record of a new image names its algorithm only once the image is active. */
static char *find_hash_algo(struct task *task)
{
	const char *configured = task->agent->config->hash_algo;
	const char *base = nova_instance_string(task->instance, "image_ref");
	g_autoptr(image_record_t) record = NULL;

	if (configured || !base || !g_uuid_string_is_valid(base))
		return g_strdup(configured);
	if (image_store_get(task->agent->store, &task->identity, base, &record, NULL) < 0)
		return NULL;
	return g_strdup(record->os_hash_algo);
}

/* nova first tries a direct snapshot, which only Ceph supports, and sets its task states. Clients
 * of nova must see the same states here. Nova releases with plain instances used only one state. */
static int save_upload_task_states(struct task *task, const struct snapshot_states *states,
				   GError **error)
{
	/* The claim of a backup has saved the first one. */
	if (!(task->is_claimed && g_strcmp0(task->task_state, states->pending_upload) == 0) &&
	    report_task_state(task, states->pending_upload, states->first, error) < 0)
		return -1;
	if (nova_instance_is_plain(task->instance))
		return 0;
	if (report_task_state(task, states->uploading, states->pending_upload, error) < 0)
		return -1;
	return report_task_state(task, states->pending_upload, states->uploading, error);
}

/* Everything before the guest's disk is read. */
static int prepare_attempt(struct image_job *image, struct snapshot *snapshot, GError **error)
{
	struct task *task = image->task;

	task->snapshot_method = task->used_method = snapshot_method(snapshot);
	g_message("instance %s: snapshot into image %s, method %s, format %s",
		  nova_instance_uuid(task->instance), task->image_id, task->snapshot_method,
		  snapshot_format(snapshot));
	report_progress(task, "taking", NULL, 0, 0, true);
	task->step = "reading the image's record";
	if (!image->name) {
		if (read_image_name(image, error) < 0)
			return -1;
		image->hash_algo = find_hash_algo(task);
	}
	task->step = "preparing the guest";
	if (snapshot_prepare(snapshot, error) < 0)
		return -1;
	task->step = "announcing the snapshot";
	if (!image->announced && save_upload_task_states(task, image->states, error) < 0)
		return -1;
	image->announced = true;
	return 0;
}

static int send_image(struct image_job *image, struct snapshot *snapshot,
		      struct image_source *source, GError **error)
{
	struct task *task = image->task;
	const struct snapshot_states *states = image->states;
	const struct image_sending sending = {
		.task = task,
		.monitor = image->monitor,
		.snapshot = snapshot,
		.base = image->base,
		.name = image->name,
		.hash_algo = image->hash_algo,
	};
	int rc;

	if (!g_str_equal(task->snapshot_method, snapshot_method(snapshot))) {
		task->snapshot_method = task->used_method = snapshot_method(snapshot);
		report_progress(task, "taking", NULL, 0, 0, true);
	}
	task->step = "uploading the image";
	if (!image->uploading &&
	    report_task_state(task, states->uploading, states->pending_upload, error) < 0)
		return -1;
	image->uploading = true;
	rc = image_send(&sending, source, error);
	abort_monitor_watch_guest(image->monitor, NULL);
	if (rc < 0)
		abort_monitor_explain(image->monitor, error);
	return rc;
}

static int begin_snapshot_step(void *opaque, const char *step, const char *undo, GError **error)
{
	return task_step_begin(opaque, step, undo, error);
}

static int end_snapshot_step(void *opaque, const char *step, GError **error)
{
	return task_step_end(opaque, step, error);
}

static void clear_snapshot_step(void *opaque, const char *step)
{
	task_step_clear(opaque, step);
}

/* The image of the guest's disk as it is now. */
static struct image_source *take_image(struct image_job *image, struct snapshot *snapshot,
				       GError **error)
{
	struct image_source *source = snapshot_take(snapshot, error);
	GError *refused = NULL;

	if (!source || !snapshot_gives_disk(snapshot))
		return source;
	source = image_encode(source, snapshot_format(snapshot), image->task->agent->config,
			      abort_monitor_flag(image->monitor), &refused);
	return source ? source : snapshot_take_fallback(snapshot, refused, error);
}

/* Takes a snapshot of the guest's disk as it is now, and uploads it. */
static int attempt_snapshot(struct image_job *image, GError **error)
{
	struct task *task = image->task;
	const struct snapshot_steps steps = {begin_snapshot_step, end_snapshot_step,
					     clear_snapshot_step, task};
	const struct config *config = task->agent->config;
	const char *uuid = nova_instance_uuid(task->instance);
	struct snapshot_request request = {
		.uuid = uuid,
		/* The bytes of an ami are raw, whatever the disk's format. */
		.image_format = image_base_forces_ami(image->base) ? "raw" : NULL,
		.guest_agent = nova_instance_image_flag(task->instance, "hw_qemu_guest_agent"),
		.require_quiesce = nova_instance_image_flag(task->instance, "os_require_quiesce"),
		.compression = !config->snapshot_compression ? NULL
			       : config->compress_zstd	     ? "zstd"
							     : "zlib",
		.cancel = abort_monitor_flag(image->monitor),
		.steps = &steps,
	};
	g_autoptr(GError) end_error = NULL;
	struct image_source *source = NULL;
	struct snapshot *snapshot;
	gint64 began = g_get_monotonic_time();
	int rc = -1;

	task->step = "finding the guest and its disk";
	snapshot = snapshot_new(task->agent->host, &request, error);
	if (!snapshot)
		return -1;
	if (prepare_attempt(image, snapshot, error) == 0) {
		task->step = "taking the snapshot";
		source = take_image(image, snapshot, error);
		if (!source)
			abort_monitor_explain(image->monitor, error);
	}
	if (source) {
		g_message("instance %s: taken in %.1f s, %" G_GUINT64_FORMAT " bytes to upload",
			  uuid, (double)(g_get_monotonic_time() - began) / 1e6, source->size);
		rc = send_image(image, snapshot, source, error);
	}
	task->snapshot_method = NULL;
	image_source_free(source);
	if (snapshot_end(snapshot, &end_error) < 0)
		g_warning("instance %s: cleaning up after the snapshot: %s", uuid,
			  end_error->message);
	return rc;
}

/* All data was sent, without the store's confirmation. The guest does not wait for it, nor do other
 * snapshots. Returns whether the image waits for data again; else `*ret_rc` and the error are the
 * result. */
static bool must_send_again(struct image_job *image, int *ret_rc, GError **error)
{
	struct task *task = image->task;

	job_release_slot(task->job);
	switch (image_confirm(task, error)) {
	case IMAGE_CONFIRM_EMPTY:
		task->step = "waiting for other snapshots";
		if (job_acquire_slot(task->job))
			return true;
		*ret_rc = task_fail_cancelled(task, error);
		return false;
	case IMAGE_CONFIRMED:
		*ret_rc = 0;
		return false;
	case IMAGE_CONFIRM_FAILED:
	default:
		*ret_rc = -1;
		return false;
	}
}

/* Whether only the store can tell whether the upload has failed. */
static bool is_unconfirmed(const struct task *task, const GError *error)
{
	return task_state_image(task->state) == TASK_IMAGE_SENT && error->domain == IMAGE_ERROR &&
	       error->code != IMAGE_ERROR_CANCELLED;
}

static int attempt_snapshots(struct image_job *image, GError **error)
{
	const char *uuid = nova_instance_uuid(image->task->instance);

	for (int instant = 1;; instant++) {
		g_autoptr(GError) local = NULL;
		int rc;

		if (attempt_snapshot(image, &local) == 0)
			return 0;
		if (is_unconfirmed(image->task, local)) {
			g_message("instance %s: image %s: %s", uuid, image->task->image_id,
				  local->message);
			if (!must_send_again(image, &rc, error))
				return rc;
		} else if (!g_error_matches(local, VIRT_ERROR, VIRT_ERROR_INSTANT_LOST)) {
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
		if (instant == ATTEMPTS_MAX) {
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
		g_message("instance %s: image %s: %s; taking a new snapshot", uuid,
			  image->task->image_id, local->message);
	}
}

int snapshot_take_and_upload(struct task *task, const struct snapshot_states *states,
			     GError **error)
{
	struct image_job image = {.task = task, .states = states};
	struct record_progress *progress;
	int rc = -1;

	/* An earlier process has uploaded the image. */
	if (task_state_has_complete_image(task->state))
		return 0;
	task->step = "waiting for other snapshots";
	if (!job_acquire_slot(task->job))
		return task_fail_cancelled(task, error);
	image.base = image_base_new(task);
	image.monitor = abort_monitor_start(task, error);
	progress = record_progress_start(task);
	if (image.monitor)
		rc = attempt_snapshots(&image, error);
	if (rc == 0 && !job_refuse_cancel(task->job))
		rc = task_fail_cancelled(task, error);
	abort_monitor_stop(image.monitor);
	job_release_slot(task->job);
	record_progress_stop(progress);
	g_free(image.name);
	g_free(image.hash_algo);
	image_base_free(image.base);
	return rc;
}

static int save_power_state(struct task *task, GError **error)
{
	int state;

	/* A complete image does not need libvirt. */
	if (task_state_has_complete_image(task->state))
		return report_load_flavor(task, error);
	state = task_power_state(task, error);
	if (state < 0)
		return -1;
	if (state != GUEST_RUNNING)
		g_message("instance %s: the guest is not running (power state %d); taking its "
			  "snapshot nevertheless",
			  nova_instance_uuid(task->instance), state);
	return report_power_state(task, state, error);
}

/* If another operation has begun since, for example after a start of nova-compute has cleared the
 * task state, the image is complete nevertheless. */
static int clear_task_state(struct task *task, GError **error)
{
	g_autoptr(GError) local = NULL;

	task->step = "clearing the task state";
	if (report_task_state(task, NULL, STATE_UPLOADING, &local) == 0)
		return 0;
	if (!task_state_has_complete_image(task->state) ||
	    !g_error_matches(local, RPC_ERROR, RPC_ERROR_UNEXPECTED_TASK_STATE)) {
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	g_message("instance %s: image %s is complete; another operation has the instance: not "
		  "changing its task state: %s",
		  nova_instance_uuid(task->instance), task->image_id, local->message);
	nova_instance_forget_changes(task->instance);
	task_state_set_done(task->state, TASK_DUTY_TASK_STATE);
	task->task_state = NULL;
	return 0;
}

/* Up to the cleared task state. */
static int snapshot_and_clear(struct task *task, const char *first, GError **error)
{
	const struct snapshot_states states = {first, STATE_PENDING_UPLOAD, STATE_UPLOADING};
	g_autoptr(GError) local = NULL;

	task->step = "saving the power state";
	if (save_power_state(task, error) < 0)
		return -1;
	report_phase(task, "snapshot", "start");
	if (snapshot_take_and_upload(task, &states, &local) < 0) {
		snapshot_explain_missing_guest(task, &local);
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	if (clear_task_state(task, error) < 0)
		return -1;
	fact_note(task, FACT_STATE_CLEARED);
	if (!nova_instance_is_plain(task->instance))
		report_phase(task, "snapshot", "end");
	return 0;
}

int snapshot_instance_steps(struct task *task, const char *first, bool is_last, GError **error)
{
	bool is_cleared = task_state_has_complete_image(task->state) && task->recovered_job &&
			  fact_is_known(task->recovered_job, FACT_STATE_CLEARED);

	if (is_cleared)
		task->task_state = NULL;
	else if (snapshot_and_clear(task, first, error) < 0)
		return -1;
	return image_finish(task, is_last, error);
}
