/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nova.virt.libvirt.driver.snapshot, in the same order of states: from a guest's disk into the
 * store. Where the instant that is read is lost, for its guest started or stopped, a new one is
 * taken: never two instants in one image.
 */
#include "agent/method/abort-monitor.h"
#include "agent/method/image-encode.h"
#include "agent/method/image-metadata.h"
#include "agent/recovery/recovery.h"
#include "agent/task/fault-point.h"
#include "agent/task/task.h"

#define INSTANTS 3

/* What the attempts have in common. */
struct driver {
	struct task *task;
	const struct snapshot_states *states;
	struct lookout *lookout;
	struct snapshot *taken; /* what is uploaded; NULL: nothing is */
	char *name;		/* the image's; NULL: not read yet */
	char *hash_algo;	/* NULL: the usual one */
	/* What was told is not told again by a further attempt. */
	bool announced;
	bool uploading;
};

/* The name that the image's record already has. A directory store has no record before the upload.
 */
static int find_image_name(struct driver *driver, GError **error)
{
	struct task *task = driver->task;
	struct manager *manager = task->manager;
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) local = NULL;

	if (image_store_get(manager->store, &task->identity, task->image_id, &record, &local) ==
	    0) {
		driver->name = g_strdup(record->name);
		lookout_watch_image(driver->lookout);
		return 0;
	}
	if (manager->config->image.directory &&
	    g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND)) {
		const char *name = nova_instance_string(task->instance, "display_name");

		driver->name = g_strdup_printf("snapshot of %s", name ? name : "a guest");
		return 0;
	}
	g_propagate_error(error, g_steal_pointer(&local));
	return -1;
}

/* [novasnap]hash_algo, or what the store hashed the guest's own image with: it names that of a new
 * one only when it is there. */
static char *find_hash_algo(struct task *task)
{
	const char *told = task->manager->config->hash_algo;
	const char *base = nova_instance_string(task->instance, "image_ref");
	g_autoptr(image_record_t) record = NULL;

	if (told || !base || !g_uuid_string_is_valid(base))
		return g_strdup(told);
	if (image_store_get(task->manager->store, &task->identity, base, &record, NULL) < 0)
		return NULL;
	return g_strdup(record->os_hash_algo);
}

static void note_progress(void *opaque, uint64_t sent, uint64_t total)
{
	struct task *task = ((struct driver *)opaque)->task;
	unsigned long long before = atomic_exchange(&task->told, sent);
	bool edge = sent != before && (sent == 0 || sent == total);

	atomic_store(&task->total, total);
	/* Reports come a few times a second. */
	if (sent > 0 && sent < total && sent >= total / 2 && before < total / 2)
		(void)fault_at(RECOVERY_SENT, "half");

	if (sent == 0)
		atomic_store(&task->upload_at, g_get_monotonic_time());
	report_progress(task, "uploading", NULL, sent, total, edge);
}

static int update(struct task *task, const struct image_meta *meta, GError **error)
{
	if (task_step_begin(task, "image-update", NULL, error) < 0 ||
	    image_store_update(task->manager->store, &task->identity, task->image_id, meta, error) <
		    0)
		return -1;
	return task_step_end(task, "image-update", error);
}

/* The last byte is read, but not yet sent: the data is checked to be of one instant, and the
 * checksum is journaled, so that recovery can tell a complete image from a partial one. */
static int note_checksum(void *opaque, const struct image_checksum *checksum, GError **error)
{
	struct driver *driver = opaque;
	struct task *task = driver->task;
	g_autofree char *fact = recovery_checksum_text(checksum);

	if (snapshot_verify_end(driver->taken, error) < 0 ||
	    task_step_begin(task, RECOVERY_CHECKSUM, NULL, error) < 0 ||
	    (task->journal_job > 0 &&
	     journal_step(task->manager->journal, task->journal_job, fact, "", error) < 0))
		return -1;
	return task_step_end(task, RECOVERY_CHECKSUM, error);
}

/* That data went into the image a later life could not tell. */
static int store_image(struct task *task, struct image_upload *upload, GError **error)
{
	if (task_step_begin(task, RECOVERY_SENT, "", error) < 0)
		return -1;
	task->sent = true;
	if (image_store_upload(task->manager->store, &task->identity, task->image_id, upload,
			       error) < 0 ||
	    task_step_end(task, RECOVERY_SENT, error) < 0)
		return -1;
	task->whole = true;
	return 0;
}

static int upload(struct driver *driver, struct image_source *source, const char *format,
		  GError **error)
{
	struct task *task = driver->task;
	struct image_upload upload = {
		.source = source,
		.cancel = lookout_flag(driver->lookout),
		.progress = note_progress,
		.checksum = note_checksum,
		.opaque = driver,
		.hash_algo = driver->hash_algo,
		.resuming = task->sent,
	};
	struct image_meta meta;
	cJSON *properties = metadata_build(task, driver->name, format, &meta);
	gint64 began = g_get_monotonic_time();
	int rc;

	rc = update(task, &meta, error);
	if (rc == 0)
		rc = store_image(task, &upload, error);
	if (rc == 0)
		g_message("instance %s: image %s is active: %s, %" G_GUINT64_FORMAT
			  " bytes in %.1f s, attempts %u, %s %.16s...",
			  nova_instance_uuid(task->instance), task->image_id, meta.disk_format,
			  upload.sent, (double)(g_get_monotonic_time() - began) / 1e6,
			  upload.attempts, upload.hash_name, upload.hash);
	cJSON_Delete(properties);
	return rc;
}

/* The states of nova's try at a direct snapshot, which only Ceph can do, are gone through all the
 * same: a controller sees the same states. Before there was such a try, there was one state. */
static int announce_taking(struct task *task, const struct snapshot_states *states, GError **error)
{
	if (report_state(task, states->pending_upload, states->first, error) < 0)
		return -1;
	if (nova_instance_is_plain(task->instance))
		return 0;
	if (report_state(task, states->uploading, states->pending_upload, error) < 0)
		return -1;
	return report_state(task, states->pending_upload, states->uploading, error);
}

/* All before the guest's disk is read. A further attempt has told it all before. */
static int begin(struct driver *driver, struct snapshot *taken, GError **error)
{
	struct task *task = driver->task;

	task->how = snapshot_method(taken);
	g_message("instance %s: snapshot into image %s, method %s, format %s",
		  nova_instance_uuid(task->instance), task->image_id, task->how,
		  snapshot_format(taken));
	report_progress(task, "taking", NULL, 0, 0, true);
	task->step = "reading the image's record";
	if (!driver->name) {
		if (find_image_name(driver, error) < 0)
			return -1;
		driver->hash_algo = find_hash_algo(task);
	}
	task->step = "preparing the guest";
	if (snapshot_prepare(taken, error) < 0)
		return -1;
	task->step = "announcing the snapshot";
	if (!driver->announced && announce_taking(task, driver->states, error) < 0)
		return -1;
	driver->announced = true;
	return 0;
}

static int send(struct driver *driver, struct snapshot *taken, struct image_source *source,
		GError **error)
{
	struct task *task = driver->task;
	const struct snapshot_states *states = driver->states;
	int rc;

	task->how = snapshot_method(taken);
	task->step = "uploading the image";
	if (!driver->uploading &&
	    report_state(task, states->uploading, states->pending_upload, error) < 0)
		return -1;
	driver->uploading = true;
	driver->taken = taken;
	lookout_watch(driver->lookout, taken);
	rc = upload(driver, source, snapshot_format(taken), error);
	lookout_watch(driver->lookout, NULL);
	driver->taken = NULL;
	if (rc < 0)
		lookout_explain(driver->lookout, error);
	return rc;
}

static int step_begin(void *opaque, const char *step, const char *undo, GError **error)
{
	return task_step_begin(opaque, step, undo, error);
}

static int step_end(void *opaque, const char *step, GError **error)
{
	return task_step_end(opaque, step, error);
}

static void step_clear(void *opaque, const char *step)
{
	task_step_over(opaque, step);
}

/* Takes the guest's disk as it is now, and sends it. */
static int take_instant(struct driver *driver, GError **error)
{
	struct task *task = driver->task;
	const struct snapshot_steps steps = {step_begin, step_end, step_clear, task};
	const char *uuid = nova_instance_uuid(task->instance);
	struct snapshot_request wanted = {
		.uuid = uuid,
		.root_device_name = nova_instance_string(task->instance, "root_device_name"),
		.guest_agent = nova_instance_image_flag(task->instance, "hw_qemu_guest_agent"),
		.require_quiesce = nova_instance_image_flag(task->instance, "os_require_quiesce"),
		.compress = task->manager->config->snapshot_compression,
		.cancel = lookout_flag(driver->lookout),
		.steps = &steps,
	};
	g_autoptr(GError) undo_error = NULL;
	struct image_source *source = NULL;
	struct snapshot *taken;
	gint64 began = g_get_monotonic_time();
	int rc = -1;

	task->step = "finding the guest and its disk";
	taken = snapshot_new(task->manager->host, &wanted, error);
	if (!taken)
		return -1;
	if (begin(driver, taken, error) == 0) {
		task->step = "taking the snapshot";
		source = snapshot_take(taken, error);
		if (source && snapshot_gives_disk(taken))
			source = image_encode(source, snapshot_format(taken), task->manager->config,
					      lookout_flag(driver->lookout), error);
		if (!source)
			lookout_explain(driver->lookout, error);
	}
	if (source) {
		g_message("instance %s: taken in %.1f s, %" G_GUINT64_FORMAT " bytes to upload",
			  uuid, (double)(g_get_monotonic_time() - began) / 1e6, source->size);
		rc = send(driver, taken, source, error);
	}
	task->how = NULL;
	image_source_free(source);
	if (snapshot_end(taken, &undo_error) < 0)
		g_warning("instance %s: after the snapshot: %s", uuid, undo_error->message);
	return rc;
}

static int take_and_upload(struct driver *driver, GError **error)
{
	for (int instant = 1;; instant++) {
		g_autoptr(GError) local = NULL;

		if (take_instant(driver, &local) == 0)
			return 0;
		if (!g_error_matches(local, VIRT_ERROR, VIRT_ERROR_INSTANT_LOST) ||
		    instant == INSTANTS) {
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
		g_message("instance %s: image %s: %s; it is begun anew",
			  nova_instance_uuid(driver->task->instance), driver->task->image_id,
			  local->message);
	}
}

int snapshot_take_and_upload(struct task *task, const struct snapshot_states *states,
			     GError **error)
{
	struct driver driver = {.task = task, .states = states};
	int rc = -1;

	/* A life before this one came so far. */
	if (task->whole)
		return 0;
	task->step = "waiting for other snapshots";
	if (!job_take_place(task->job))
		return task_set_cancelled(task, error);
	driver.lookout = lookout_start(task, error);
	if (driver.lookout)
		rc = take_and_upload(&driver, error);
	if (rc == 0 && !job_settle(task->job))
		rc = task_set_cancelled(task, error);
	lookout_stop(driver.lookout);
	job_give_place(task->job);
	g_free(driver.name);
	g_free(driver.hash_algo);
	return rc;
}
