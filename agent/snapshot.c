/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The job of a snapshot: nova.compute.manager.snapshot_instance and
 * nova.virt.libvirt.driver.snapshot, in the same order of states.
 */
#include <string.h>

#include "agent/metadata.h"
#include "agent/snapshot-job.h"

#define STATE_SNAPSHOT_PENDING "image_snapshot_pending"
#define STATE_SNAPSHOT "image_snapshot"
#define STATE_PENDING_UPLOAD "image_pending_upload"
#define STATE_UPLOADING "image_uploading"

static void set_cancelled(GError **error)
{
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_CANCELLED,
			    "the snapshot was cancelled, for novasnapd is stopping");
}

/* nova's _get_power_state: a guest that libvirt does not know has none. */
static int save_power_state(struct snapshot_job *snapshot, GError **error)
{
	g_autoptr(GError) local = NULL;
	const char *uuid = nova_instance_uuid(snapshot->instance);
	int state = virt_guest_power_state(snapshot->manager->host, uuid, &local);

	if (state < 0) {
		if (!g_error_matches(local, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN)) {
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
		state = GUEST_NOSTATE;
	}
	if (state != GUEST_RUNNING)
		g_message("instance %s: is not running (power state %d), its snapshot is taken "
			  "all the same",
			  uuid, state);
	return report_power_state(snapshot, state, error);
}

/* The name that the image's record already has. A directory store has no record before the upload.
 */
static int find_image_name(struct snapshot_job *snapshot, char **ret_name, GError **error)
{
	struct manager *manager = snapshot->manager;
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) local = NULL;

	if (image_store_get(manager->store, &snapshot->identity, snapshot->image_id, &record,
			    &local) == 0) {
		*ret_name = g_strdup(record->name);
		return 0;
	}
	if (manager->config->image.directory &&
	    g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND)) {
		const char *name = nova_instance_string(snapshot->instance, "display_name");

		*ret_name = g_strdup_printf("snapshot of %s", name ? name : "a guest");
		return 0;
	}
	g_propagate_error(error, g_steal_pointer(&local));
	return -1;
}

static void note_progress(void *opaque, uint64_t sent, uint64_t total)
{
	struct snapshot_job *snapshot = opaque;
	unsigned long long before = atomic_exchange(&snapshot->told, sent);
	bool edge = sent != before && (sent == 0 || sent == total);

	report_progress(snapshot, "uploading", NULL, sent, total, edge);
}

static int upload(struct snapshot_job *snapshot, struct image_source *source, const char *name,
		  const char *format, GError **error)
{
	struct image_store *store = snapshot->manager->store;
	struct image_upload upload = {
		.source = source,
		.cancel = job_cancel_flag(snapshot->job),
		.progress = note_progress,
		.opaque = snapshot,
	};
	struct image_meta meta;
	cJSON *properties = metadata_build(snapshot->instance, name, format, &meta);
	gint64 began = g_get_monotonic_time();
	int rc;

	rc = image_store_update(store, &snapshot->identity, snapshot->image_id, &meta, error);
	if (rc == 0)
		rc = image_store_upload(store, &snapshot->identity, snapshot->image_id, &upload,
					error);
	cJSON_Delete(properties);
	if (rc == 0)
		g_message("instance %s: image %s is active: %s, %" G_GUINT64_FORMAT
			  " bytes in %.1f s, attempts %u, sha512 %.16s...",
			  nova_instance_uuid(snapshot->instance), snapshot->image_id, format,
			  upload.sent, (double)(g_get_monotonic_time() - began) / 1e6,
			  upload.attempts, upload.sha512);
	return rc;
}

/* The states of nova's try at a direct snapshot, which only Ceph can do, are gone through all the
 * same: a controller sees the same states. */
static int announce_taking(struct snapshot_job *snapshot, GError **error)
{
	if (report_state(snapshot, STATE_PENDING_UPLOAD, snapshot->first, error) < 0)
		return -1;
	if (report_state(snapshot, STATE_UPLOADING, STATE_PENDING_UPLOAD, error) < 0)
		return -1;
	return report_state(snapshot, STATE_PENDING_UPLOAD, STATE_UPLOADING, error);
}

/* The driver's part: from the guest's disk into the store. */
static int take_and_upload(struct snapshot_job *snapshot, GError **error)
{
	const char *uuid = nova_instance_uuid(snapshot->instance);
	struct snapshot_request wanted = {
		.uuid = uuid,
		.root_device_name = nova_instance_string(snapshot->instance, "root_device_name"),
		.cancel = job_cancel_flag(snapshot->job),
	};
	g_autoptr(GError) undo_error = NULL;
	g_autofree char *name = NULL;
	struct image_source *source = NULL;
	struct snapshot *taken;
	gint64 began = g_get_monotonic_time();
	int rc = -1;

	snapshot->step = "finding the guest and its disk";
	taken = snapshot_new(snapshot->manager->host, &wanted, error);
	if (!taken)
		return -1;
	snapshot->how = snapshot_method(taken);
	g_message("instance %s: snapshot into image %s, method %s, format %s", uuid,
		  snapshot->image_id, snapshot->how, snapshot_format(taken));
	report_progress(snapshot, "taking", NULL, 0, 0, true);

	snapshot->step = "reading the image's record";
	if (find_image_name(snapshot, &name, error) < 0)
		goto out;
	snapshot->step = "preparing the guest";
	if (snapshot_prepare(taken, error) < 0)
		goto out;
	snapshot->step = "announcing the snapshot";
	if (announce_taking(snapshot, error) < 0)
		goto out;
	snapshot->step = "taking the snapshot";
	source = snapshot_take(taken, error);
	if (!source)
		goto out;
	g_message("instance %s: taken in %.1f s, %" G_GUINT64_FORMAT " bytes to upload", uuid,
		  (double)(g_get_monotonic_time() - began) / 1e6, source->size);
	snapshot->step = "uploading the image";
	if (report_state(snapshot, STATE_UPLOADING, STATE_PENDING_UPLOAD, error) < 0)
		goto out;
	rc = upload(snapshot, source, name, snapshot_format(taken), error);

out:
	snapshot->how = NULL;
	image_source_free(source);
	if (snapshot_end(taken, &undo_error) < 0)
		g_warning("instance %s: after the snapshot: %s", uuid, undo_error->message);
	return rc;
}

/* nova's _snapshot_instance, within its place among max_concurrent_snapshots. */
static int snapshot_run(struct snapshot_job *snapshot, GError **error)
{
	snapshot->step = "starting the action's event";
	if (report_event_start(snapshot, error) < 0)
		return -1;
	snapshot->step = "accepting the cast";
	if (report_state(snapshot, snapshot->first, snapshot->pending, error) < 0)
		return -1;
	snapshot->step = "waiting for other snapshots";
	if (!job_take_place(snapshot->job)) {
		set_cancelled(error);
		return -1;
	}
	snapshot->step = "saving the power state";
	if (save_power_state(snapshot, error) < 0)
		return -1;
	report_phase(snapshot, "start");
	if (take_and_upload(snapshot, error) < 0)
		return -1;
	job_give_place(snapshot->job);
	snapshot->step = "clearing the task state";
	if (report_state(snapshot, NULL, STATE_UPLOADING, error) < 0)
		return -1;
	report_phase(snapshot, "end");
	return 0;
}

static void job_run(struct job *job, void *opaque)
{
	struct snapshot_job *snapshot = opaque;
	g_autoptr(GError) error = NULL;

	snapshot->job = job;
	rpc_request_ack(snapshot->request);
	(void)snapshot_run(snapshot, &error);
	report_end(snapshot, error);
}

static void job_drop(void *opaque)
{
	struct snapshot_job *snapshot = opaque;

	nova_instance_free(snapshot->instance);
	rpc_request_free(snapshot->request);
	g_free(snapshot->roles);
	g_free(snapshot);
}

static void fill_identity(struct snapshot_job *snapshot)
{
	const cJSON *fields = rpc_context_fields(snapshot->context);
	const cJSON *roles = cJSON_GetObjectItemCaseSensitive(fields, "roles");
	int count = cJSON_IsArray(roles) ? cJSON_GetArraySize(roles) : 0;
	const cJSON *role;
	size_t n = 0;

	snapshot->roles = g_new0(const char *, (size_t)count + 1);
	if (count > 0)
		cJSON_ArrayForEach (role, roles) {
			if (cJSON_IsString(role))
				snapshot->roles[n++] = role->valuestring;
		}
	snapshot->identity = (struct image_identity){
		.token = rpc_context_string(snapshot->context, "auth_token"),
		.request_id = rpc_context_string(snapshot->context, "request_id"),
		.user_id = rpc_context_string(snapshot->context, "user_id"),
		.project_id = rpc_context_string(snapshot->context, "project_id"),
		.roles = snapshot->roles,
	};
}

void snapshot_instance_submit(struct manager *manager, struct rpc_request *request)
{
	static const struct job_ops ops = {job_run, job_drop};
	const cJSON *args = rpc_request_args(request);
	const cJSON *image_id = cJSON_GetObjectItemCaseSensitive(args, "image_id");
	const cJSON *object = cJSON_GetObjectItemCaseSensitive(args, "instance");
	g_autoptr(GError) error = NULL;
	struct nova_instance *instance = NULL;
	struct snapshot_job *snapshot;

	if (!cJSON_IsString(image_id) || !g_uuid_string_is_valid(image_id->valuestring))
		g_set_error_literal(&error, RPC_ERROR, RPC_ERROR_DECODE,
				    "its argument image_id is no uuid");
	else
		instance = nova_instance_new(object, &error);
	if (!instance) {
		rpc_request_reject(request, error->message);
		return;
	}

	snapshot = g_new0(struct snapshot_job, 1);
	snapshot->manager = manager;
	snapshot->request = request;
	snapshot->context = rpc_request_context(request);
	snapshot->instance = instance;
	snapshot->image_id = image_id->valuestring;
	atomic_init(&snapshot->told, UINT64_MAX);
	snapshot->function = "snapshot_instance";
	snapshot->event = "compute_snapshot_instance";
	snapshot->first = STATE_SNAPSHOT;
	snapshot->pending = STATE_SNAPSHOT_PENDING;
	fill_identity(snapshot);
	jobs_submit(manager->jobs, nova_instance_uuid(instance), &ops, snapshot);
}
