/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * snapshot_instance: nova.compute.manager.snapshot_instance and
 * nova.virt.libvirt.driver.snapshot, in the same order of states.
 */
#include "agent/metadata.h"
#include "agent/task.h"

#define STATE_SNAPSHOT_PENDING "image_snapshot_pending"
#define STATE_SNAPSHOT "image_snapshot"
#define STATE_BACKUP "image_backup"
#define STATE_PENDING_UPLOAD "image_pending_upload"
#define STATE_UPLOADING "image_uploading"

static int save_power_state(struct task *task, GError **error)
{
	int state = task_power_state(task, error);

	if (state < 0)
		return -1;
	if (state != GUEST_RUNNING)
		g_message("instance %s: is not running (power state %d), its snapshot is taken "
			  "all the same",
			  nova_instance_uuid(task->instance), state);
	return report_power_state(task, state, error);
}

/* The name that the image's record already has. A directory store has no record before the upload.
 */
static int find_image_name(struct task *task, char **ret_name, GError **error)
{
	struct manager *manager = task->manager;
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) local = NULL;

	if (image_store_get(manager->store, &task->identity, task->image_id, &record, &local) ==
	    0) {
		*ret_name = g_strdup(record->name);
		return 0;
	}
	if (manager->config->image.directory &&
	    g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND)) {
		const char *name = nova_instance_string(task->instance, "display_name");

		*ret_name = g_strdup_printf("snapshot of %s", name ? name : "a guest");
		return 0;
	}
	g_propagate_error(error, g_steal_pointer(&local));
	return -1;
}

static void note_progress(void *opaque, uint64_t sent, uint64_t total)
{
	struct task *task = opaque;
	unsigned long long before = atomic_exchange(&task->told, sent);
	bool edge = sent != before && (sent == 0 || sent == total);

	report_progress(task, "uploading", NULL, sent, total, edge);
}

static int upload(struct task *task, struct image_source *source, const char *name,
		  const char *format, GError **error)
{
	struct image_store *store = task->manager->store;
	struct image_upload upload = {
		.source = source,
		.cancel = job_cancel_flag(task->job),
		.progress = note_progress,
		.opaque = task,
	};
	struct image_meta meta;
	cJSON *properties = metadata_build(task, name, format, &meta);
	gint64 began = g_get_monotonic_time();
	int rc;

	rc = image_store_update(store, &task->identity, task->image_id, &meta, error);
	task->sent = rc == 0;
	if (rc == 0)
		rc = image_store_upload(store, &task->identity, task->image_id, &upload, error);
	if (rc == 0)
		g_message("instance %s: image %s is active: %s, %" G_GUINT64_FORMAT
			  " bytes in %.1f s, attempts %u, sha512 %.16s...",
			  nova_instance_uuid(task->instance), task->image_id, meta.disk_format,
			  upload.sent, (double)(g_get_monotonic_time() - began) / 1e6,
			  upload.attempts, upload.sha512);
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

static int take_and_upload(struct task *task, const struct snapshot_states *states, GError **error)
{
	const char *uuid = nova_instance_uuid(task->instance);
	struct snapshot_request wanted = {
		.uuid = uuid,
		.root_device_name = nova_instance_string(task->instance, "root_device_name"),
		.guest_agent = nova_instance_image_flag(task->instance, "hw_qemu_guest_agent"),
		.require_quiesce = nova_instance_image_flag(task->instance, "os_require_quiesce"),
		.cancel = job_cancel_flag(task->job),
	};
	g_autoptr(GError) undo_error = NULL;
	g_autofree char *name = NULL;
	struct image_source *source = NULL;
	struct snapshot *taken;
	gint64 began = g_get_monotonic_time();
	int rc = -1;

	task->step = "finding the guest and its disk";
	taken = snapshot_new(task->manager->host, &wanted, error);
	if (!taken)
		return -1;
	task->how = snapshot_method(taken);
	g_message("instance %s: snapshot into image %s, method %s, format %s", uuid, task->image_id,
		  task->how, snapshot_format(taken));
	report_progress(task, "taking", NULL, 0, 0, true);

	task->step = "reading the image's record";
	if (find_image_name(task, &name, error) < 0)
		goto out;
	task->step = "preparing the guest";
	if (snapshot_prepare(taken, error) < 0)
		goto out;
	task->step = "announcing the snapshot";
	if (announce_taking(task, states, error) < 0)
		goto out;
	task->step = "taking the snapshot";
	source = snapshot_take(taken, error);
	if (!source)
		goto out;
	g_message("instance %s: taken in %.1f s, %" G_GUINT64_FORMAT " bytes to upload", uuid,
		  (double)(g_get_monotonic_time() - began) / 1e6, source->size);
	task->step = "uploading the image";
	if (report_state(task, states->uploading, states->pending_upload, error) < 0)
		goto out;
	rc = upload(task, source, name, snapshot_format(taken), error);

out:
	task->how = NULL;
	image_source_free(source);
	if (snapshot_end(taken, &undo_error) < 0)
		g_warning("instance %s: after the snapshot: %s", uuid, undo_error->message);
	return rc;
}

int snapshot_take_and_upload(struct task *task, const struct snapshot_states *states,
			     GError **error)
{
	int rc;

	task->step = "waiting for other snapshots";
	if (!job_take_place(task->job))
		return task_set_cancelled(error);
	rc = take_and_upload(task, states, error);
	job_give_place(task->job);
	return rc;
}

int snapshot_instance_steps(struct task *task, const char *first, GError **error)
{
	const struct snapshot_states states = {first, STATE_PENDING_UPLOAD, STATE_UPLOADING};

	task->step = "saving the power state";
	if (save_power_state(task, error) < 0)
		return -1;
	report_phase(task, "snapshot", "start");
	if (snapshot_take_and_upload(task, &states, error) < 0)
		return -1;
	task->step = "clearing the task state";
	if (report_state(task, NULL, STATE_UPLOADING, error) < 0)
		return -1;
	if (!nova_instance_is_plain(task->instance))
		report_phase(task, "snapshot", "end");
	return 0;
}

/* Folsom's and Grizzly's: the API has set the task state, a backup is a snapshot with a rotation,
 * and the end is told after it. */
static int plain_steps(struct task *task, GError **error)
{
	const char *type = task_arg_string(task, "image_type");
	bool is_backup = g_strcmp0(type, "backup") == 0;

	if (snapshot_instance_steps(task, is_backup ? STATE_BACKUP : STATE_SNAPSHOT, error) < 0)
		return -1;
	if (is_backup) {
		task->keep_image = true;
		task->step = "rotating the backups";
		if (backup_rotate(task, task_arg_string(task, "backup_type"),
				  task_arg_int(task, "rotation", 1), error) < 0)
			return -1;
	}
	report_phase(task, "snapshot", "end");
	return 0;
}

static int run(struct task *task, GError **error)
{
	if (nova_instance_is_plain(task->instance))
		return plain_steps(task, error);
	task->step = "accepting the cast";
	if (report_state(task, STATE_SNAPSHOT, STATE_SNAPSHOT_PENDING, error) < 0)
		return -1;
	return snapshot_instance_steps(task, STATE_SNAPSHOT, error);
}

/* What nova raised as ImageRotationNotAllowed and RotationRequiredForBackup. */
static int check(const cJSON *args, GError **error)
{
	const char *type =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(args, "image_type"));
	const cJSON *rotation = cJSON_GetObjectItemCaseSensitive(args, "rotation");
	bool rotates = cJSON_IsNumber(rotation);

	if (!type || (g_str_equal(type, "snapshot") && !rotates) ||
	    (g_str_equal(type, "backup") && rotates))
		return 0;
	g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE,
		    "image_type \"%s\" %s rotation (RotationRequiredForBackup, "
		    "ImageRotationNotAllowed)",
		    type, rotates ? "takes no" : "needs a");
	return -1;
}

const struct task_method method_snapshot_instance = {
	.name = "snapshot_instance",
	.event = "compute_snapshot_instance",
	.flags = TASK_EVENT | TASK_FAULT | TASK_IMAGE | TASK_GONE_IS_NO_FAILURE,
	.run = run,
	.check = check,
};
