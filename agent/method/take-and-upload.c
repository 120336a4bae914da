/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See take-and-upload.h. The image contains the disk at a single point in time. If that is no
 * longer possible, because the guest was started or stopped before the last byte was read, a new
 * snapshot is taken and uploaded: an image never mixes two points in time.
 */
#include "agent/method/take-and-upload.h"

#include "agent/method/abort-monitor.h"
#include "agent/method/deletion-watch.h"
#include "agent/method/image-direct.h"
#include "agent/method/image-encode.h"
#include "agent/method/image-finish.h"
#include "agent/method/image-metadata.h"
#include "agent/method/image-record.h"
#include "agent/method/image-send.h"
#include "agent/method/snapshot-steps.h"
#include "agent/method/upload-states.h"
#include "agent/task/facts.h"
#include "agent/task/record-progress.h"
#include "agent/task/report.h"
#include "agent/task/want.h"

/* The maximum number of snapshots taken for one image. */
#define ATTEMPTS_MAX 3

/* One image, which may take several snapshots. */
struct image_job {
	struct task *task;
	struct abort_monitor *monitor;
	char *name;			    /* the image's name; NULL: not read yet */
	char *hash_algo;		    /* NULL: the default, or not read yet */
	struct image_base *base;	    /* NULL: not read yet */
	struct upload_states upload_states; /* that were saved */
	struct image_direct *direct;	    /* NULL: the data is uploaded */
	struct deletion_watch *deletion;    /* of the present attempt; NULL: none */
	bool falls_back; /* a direct snapshot was not possible: the next attempt uploads the data */
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

/* Prepares the guest, and announces the snapshot to the conductor. */
static int prepare_guest(struct image_job *image, struct snapshot *snapshot, GError **error)
{
	struct task *task = image->task;

	task->step = "preparing the guest";
	if (snapshot_prepare(snapshot, error) < 0)
		return -1;
	task->step = "announcing the snapshot";
	if (upload_states_begin(&image->upload_states, error) < 0)
		return -1;
	return image->direct ? 0 : upload_states_wait(&image->upload_states, error);
}

static int end_record(struct image_job *image, struct image_record_writer *writer, GError **error)
{
	image->task->step = "writing the image's record";
	if (image_record_writer_end(writer, &image->hash_algo, error) == 0)
		return 0;
	abort_monitor_explain(image->monitor, error);
	return -1;
}

/* Prepares the guest and the image's record at the same time. But a guest that is stopped for its
 * snapshot must not wait for Glance. */
static int prepare_guest_and_record(struct image_job *image, struct snapshot *snapshot,
				    GError **error)
{
	g_autofree char *known_algo = g_steal_pointer(&image->hash_algo);
	struct image_record_writer *writer = image_record_writer_start(
		image->task, image->base, image->name, snapshot_format(snapshot), known_algo);

	if (snapshot_may_stop_guest(snapshot))
		return end_record(image, writer, error) < 0 ? -1
							    : prepare_guest(image, snapshot, error);
	if (prepare_guest(image, snapshot, error) < 0) {
		image_record_writer_free(writer);
		return -1;
	}
	return end_record(image, writer, error);
}

/* Everything before the guest's disk is read. */
static int prepare_attempt(struct image_job *image, struct snapshot *snapshot, GError **error)
{
	struct task *task = image->task;

	task->snapshot_method = task->used_method =
		image->direct ? TASK_METHOD_DIRECT : snapshot_method(snapshot);
	g_message("instance %s: snapshot into image %s, method %s, format %s",
		  nova_instance_uuid(task->instance), task->image_id, task->snapshot_method,
		  snapshot_format(snapshot));
	report_progress(task, "taking", NULL, 0, 0, true);
	task->step = "reading the image's record";
	if (!image->name && read_image_name(image, error) < 0)
		return -1;
	/* A direct snapshot has other metadata, and nothing hashes its data. */
	return image->direct ? prepare_guest(image, snapshot, error)
			     : prepare_guest_and_record(image, snapshot, error);
}

static struct image_sending sending_of(const struct image_job *image, struct snapshot *snapshot)
{
	return (struct image_sending){
		.task = image->task,
		.monitor = image->monitor,
		.snapshot = snapshot,
		.base = image->base,
		.name = image->name,
		.hash_algo = image->hash_algo,
	};
}

/* Copies the disk inside its storage. If that is not possible, the next attempt uploads it. */
static int copy_directly(struct image_job *image, struct snapshot *snapshot, GError **error)
{
	const struct image_sending sending = sending_of(image, snapshot);

	switch (image_direct_send(image->direct, &sending, error)) {
	case IMAGE_DIRECT_STORED:
		return 0;
	case IMAGE_DIRECT_NOT_POSSIBLE:
		image_direct_free(image->direct);
		image->direct = NULL;
		image->falls_back = true;
		return -1;
	case IMAGE_DIRECT_FAILED:
	default:
		abort_monitor_explain(image->monitor, error);
		return -1;
	}
}

static int send_image(struct image_job *image, struct snapshot *snapshot,
		      struct image_source *source, GError **error)
{
	struct task *task = image->task;
	const struct image_sending sending = sending_of(image, snapshot);
	int rc;

	if (!g_str_equal(task->snapshot_method, snapshot_method(snapshot))) {
		task->snapshot_method = task->used_method = snapshot_method(snapshot);
		report_progress(task, "taking", NULL, 0, 0, true);
	}
	task->step = "uploading the image";
	/* The conductor refuses the first state of an instance that is being deleted. */
	if (image->upload_states.saved == UPLOAD_SENDING && snapshot_reads_idle_device(snapshot) &&
	    snapshot_refuse_deleting(task, error) < 0)
		return -1;
	if (upload_states_send(&image->upload_states, error) < 0)
		return -1;
	rc = image_send(&sending, source, error);
	abort_monitor_watch_guest(image->monitor, NULL);
	if (rc < 0)
		abort_monitor_explain(image->monitor, error);
	return rc;
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

/* Takes an image of the guest's disk as it is now, and uploads it. */
static int take_and_send(struct image_job *image, struct snapshot *snapshot, GError **error)
{
	struct task *task = image->task;
	struct image_source *source;
	gint64 began = g_get_monotonic_time();
	int rc;

	task->step = "taking the snapshot";
	source = take_image(image, snapshot, error);
	if (!source) {
		abort_monitor_explain(image->monitor, error);
		return -1;
	}
	g_message("instance %s: taken in %.1f s, %" G_GUINT64_FORMAT " bytes to upload",
		  nova_instance_uuid(task->instance),
		  (double)(g_get_monotonic_time() - began) / 1e6, source->size);
	rc = send_image(image, snapshot, source, error);
	image_source_free(source);
	return rc;
}

/* Takes a snapshot of the guest's disk as it is now, and stores it in the image. */
static int attempt_snapshot(struct image_job *image, GError **error)
{
	struct task *task = image->task;
	const struct snapshot_steps steps = snapshot_steps_of(task);
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
	struct snapshot *snapshot;
	int rc;

	task->step = "finding the guest and its disk";
	snapshot = snapshot_new(task->agent->host, &request, error);
	if (!snapshot)
		return -1;
	if (image->direct && !snapshot_can_be_direct(snapshot)) {
		image_direct_free(image->direct);
		image->direct = NULL;
	}
	rc = prepare_attempt(image, snapshot, error);
	if (rc == 0 && snapshot_blocks_deletion(snapshot))
		image->deletion = deletion_watch_start(task, image->monitor);
	if (rc == 0)
		rc = image->direct ? copy_directly(image, snapshot, error)
				   : take_and_send(image, snapshot, error);
	task->snapshot_method = NULL;
	if (snapshot_end(snapshot, &end_error) < 0)
		g_warning("instance %s: cleaning up after the snapshot: %s", uuid,
			  end_error->message);
	deletion_watch_stop(g_steal_pointer(&image->deletion));
	return rc;
}

/* The image did not get the copy. */
static int stop_trying_directly(struct image_job *image, GError **error)
{
	int rc = image_direct_remove(image->direct, error);

	image_direct_free(image->direct);
	image->direct = NULL;
	return rc;
}

/* All data was sent, without the store's confirmation. The guest does not wait for it, nor do other
 * snapshots. Returns whether the image waits for data again; else `*ret_rc` and the error are the
 * result. */
static bool must_send_again(struct image_job *image, int *ret_rc, GError **error)
{
	struct task *task = image->task;

	*ret_rc = -1;
	job_release_slot(task->job);
	switch (image_confirm(task, error)) {
	case IMAGE_CONFIRM_EMPTY:
		if (image->direct && stop_trying_directly(image, error) < 0)
			return false;
		task->step = "waiting for other snapshots";
		if (job_acquire_slot(task->job))
			return true;
		*ret_rc = task_fail_cancelled(task, error);
		return false;
	case IMAGE_CONFIRMED:
		if (image->direct)
			image_direct_keep(image->direct);
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
		/* This attempt has only found out that the data must be uploaded. */
		if (image->falls_back) {
			g_message("instance %s: image %s: %s; uploading the data instead", uuid,
				  image->task->image_id, local->message);
			image->falls_back = false;
			instant--;
			continue;
		}
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

/* A copy for a Glance that takes no locations would be made in vain. nova releases with plain
 * instances had no direct snapshots. */
static bool may_be_direct(const struct task *task)
{
	return image_store_takes_locations(task->agent->store) &&
	       !nova_instance_is_plain(task->instance);
}

int snapshot_take_and_upload(struct task *task, const struct snapshot_states *states,
			     GError **error)
{
	struct image_job image = {.task = task, .upload_states = {task, states, UPLOAD_FIRST}};
	struct record_progress *progress;
	int rc = -1;

	/* An earlier process has uploaded the image. */
	if (task_state_has_complete_image(task->state))
		return 0;
	task->step = "waiting for other snapshots";
	if (!job_acquire_slot(task->job))
		return task_fail_cancelled(task, error);
	image.base = image_base_new(task);
	if (may_be_direct(task))
		image.direct = image_direct_new(task);
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
	image_direct_free(image.direct);
	return rc;
}
