/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One snapshot, from looking at the guest to its being as it was.
 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virt/internal.h"

bool snapshot_is_cut_off(struct snapshot *snapshot)
{
	return virConnectIsAlive(snapshot->connection) != 1;
}

int snapshot_guest_state(struct snapshot *snapshot, GError **error)
{
	int state, reason;

	if (virDomainGetState(snapshot->domain, &state, &reason, 0) == 0)
		return state;
	virt_set_error(error, "asking for the guest's state");
	return -1;
}

static void snapshot_free(struct snapshot *snapshot)
{
	watch_stop(snapshot->watch);
	if (snapshot->domain)
		(void)virDomainFree(snapshot->domain);
	if (snapshot->connection)
		(void)virConnectClose(snapshot->connection);
	disk_free(snapshot->disk);
	g_free(snapshot->uuid);
	g_free(snapshot->format);
	g_free(snapshot->folder);
	g_free(snapshot->delta);
	g_free(snapshot->flat);
	g_free(snapshot->definition);
	g_free(snapshot->internal);
	if (snapshot->open_steps)
		g_ptr_array_unref(snapshot->open_steps);
	g_free(snapshot);
}

static int look(struct snapshot *snapshot, const char *root_device_name, GError **error)
{
	char *xml;

	snapshot->connection = host_connect(snapshot->host, error);
	if (!snapshot->connection)
		return -1;
	snapshot->domain = host_find_domain(snapshot->connection, snapshot->uuid, error);
	if (!snapshot->domain)
		return -1;
	snapshot->first_state = snapshot_guest_state(snapshot, error);
	if (snapshot->first_state < 0)
		return -1;
	xml = domain_xml(snapshot->domain, error);
	if (!xml)
		return -1;
	domain_facts_read(xml, &snapshot->facts);
	snapshot->disk =
		snapshot->facts.container
			? disk_find_container(xml, host_config(snapshot->host)->container_format,
					      error)
			: disk_find_root(xml, root_device_name, error);
	free(xml);
	if (!snapshot->disk)
		return -1;
	snapshot->method = method_choose(host_config(snapshot->host), &snapshot->facts,
					 snapshot->disk, snapshot->first_state, error);
	if (!snapshot->method)
		return -1;
	snapshot->format = g_strdup(format_choose(host_config(snapshot->host), snapshot->disk));
	snapshot->watch =
		watch_start(snapshot->connection, snapshot->domain, snapshot->disk->target,
			    VIR_DOMAIN_BLOCK_JOB_TYPE_COPY, error);
	return snapshot->watch ? 0 : -1;
}

struct snapshot *snapshot_new(struct virt_host *host, const struct snapshot_request *request,
			      GError **error)
{
	struct snapshot *snapshot = g_new0(struct snapshot, 1);

	snapshot->host = host;
	snapshot->uuid = g_strdup(request->uuid);
	snapshot->cancel = request->cancel;
	snapshot->steps = request->steps;
	snapshot->guest_agent = request->guest_agent;
	snapshot->require_quiesce = request->require_quiesce;
	if (look(snapshot, request->root_device_name, error) == 0)
		return snapshot;
	snapshot_free(snapshot);
	return NULL;
}

const char *snapshot_method(const struct snapshot *snapshot)
{
	return snapshot->method->name;
}

const char *snapshot_format(const struct snapshot *snapshot)
{
	return snapshot->format;
}

int snapshot_prepare(struct snapshot *snapshot, GError **error)
{
	return snapshot->method->prepare ? snapshot->method->prepare(snapshot, error) : 0;
}

/* A folder of our own, which QEMU's user may pass through but not list. */
static int make_folder(struct snapshot *snapshot, GError **error)
{
	const char *parent = host_config(snapshot->host)->snapshots_directory;
	g_autofree char *id = g_uuid_string_random();
	cJSON *undo;

	snapshot->folder = g_strdup_printf("%s/" STAGING "%.8s", parent, id);
	undo = cJSON_CreateObject();
	cJSON_AddStringToObject(undo, "folder", snapshot->folder);
	if (step_begin(snapshot, "folder", undo, error) < 0) {
		g_clear_pointer(&snapshot->folder, g_free);
		return -1;
	}
	if (g_mkdir_with_parents(parent, 0755) < 0 || g_mkdir(snapshot->folder, 0711) < 0 ||
	    chmod(snapshot->folder, 0711) < 0) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
			    "making a folder in [libvirt]snapshots_directory %s: %s", parent,
			    g_strerror(errno));
		g_clear_pointer(&snapshot->folder, g_free);
		return -1;
	}
	snapshot->delta = g_build_filename(snapshot->folder, STAGING_DELTA, NULL);
	snapshot->flat = g_build_filename(snapshot->folder, STAGING_IMAGE, NULL);
	return step_end(snapshot, "folder", error);
}

int snapshot_copy_out(struct snapshot *snapshot, const char *source, const char *internal,
		      GError **error)
{
	if (step_begin(snapshot, "copy-out", NULL, error) < 0 ||
	    qemu_img_convert(source, internal, snapshot->flat, snapshot->format,
			     host_config(snapshot->host)->snapshot_compression, snapshot->cancel,
			     error) < 0)
		return -1;
	return step_end(snapshot, "copy-out", error);
}

static int remove_file(const char *path, GError **error)
{
	if (g_unlink(path) == 0 || errno == ENOENT)
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "cannot remove %s: %s", path,
		    g_strerror(errno));
	return -1;
}

int snapshot_remove_staging(const char *folder, GError **error)
{
	g_autofree char *delta = g_build_filename(folder, STAGING_DELTA, NULL);
	g_autofree char *flat = g_build_filename(folder, STAGING_IMAGE, NULL);

	if (remove_file(delta, error) < 0 || remove_file(flat, error) < 0)
		return -1;
	if (g_rmdir(folder) == 0 || errno == ENOENT)
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "cannot remove %s: %s", folder,
		    g_strerror(errno));
	return -1;
}

static void remove_folder(struct snapshot *snapshot)
{
	g_autoptr(GError) error = NULL;

	if (!snapshot->folder)
		return;
	if (step_begin(snapshot, "clean", NULL, &error) == 0 &&
	    snapshot_remove_staging(snapshot->folder, &error) == 0 &&
	    step_end(snapshot, "clean", &error) == 0)
		step_over(snapshot, "folder");
	else
		g_warning("guest %s: %s", snapshot->uuid, error->message);
	g_clear_pointer(&snapshot->folder, g_free);
}

/* What a method cannot undo by a connection that is gone, new ones may. */
static int undo(struct snapshot *snapshot, GError **error)
{
	g_autoptr(GError) local = NULL;
	int rc = snapshot->method->undo(snapshot, &local);

	if (snapshot_is_cut_off(snapshot))
		return steps_take_back(snapshot, error);
	if (rc < 0)
		g_propagate_error(error, g_steal_pointer(&local));
	return rc;
}

/* A method that is not possible here gives way to the next. The stream's own job, and whatever it
 * needs, is left to the end: the source reads from it. */
static struct image_source *open_source(struct snapshot *snapshot, GError **error)
{
	g_autoptr(GError) local = NULL;
	g_autoptr(GError) undo_error = NULL;
	struct image_source *source = snapshot->method->open(snapshot, &local);

	if (source)
		return source;
	if (undo(snapshot, &undo_error) < 0)
		g_warning("guest %s: %s", snapshot->uuid, undo_error->message);
	if (!g_error_matches(local, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED) || undo_error) {
		g_propagate_error(error, g_steal_pointer(&local));
		return NULL;
	}
	g_message("guest %s: the method %s is not possible here (%s): %s takes its place",
		  snapshot->uuid, snapshot->method->name, local->message,
		  snapshot->method->fallback->name);
	snapshot->method = snapshot->method->fallback;
	return snapshot_take(snapshot, error);
}

struct image_source *snapshot_take(struct snapshot *snapshot, GError **error)
{
	struct image_source *source = NULL;
	g_autoptr(GError) undo_error = NULL;
	int rc;

	if (snapshot->method->open)
		return open_source(snapshot, error);
	rc = make_folder(snapshot, error);
	if (rc == 0)
		rc = snapshot->method->take(snapshot, error);
	/* In every case, before the upload: the guest comes first. */
	if (undo(snapshot, &undo_error) < 0) {
		if (rc == 0)
			g_propagate_error(error, g_steal_pointer(&undo_error));
		else
			g_warning("guest %s: %s", snapshot->uuid, undo_error->message);
		rc = -1;
	}
	if (rc == 0)
		source = image_source_new_file(snapshot->flat, error);
	/* The source holds the file open: nothing of it is left when we are killed. */
	remove_folder(snapshot);
	return source;
}

int snapshot_verify_instant(struct snapshot *snapshot, GError **error)
{
	return snapshot->method->check ? snapshot->method->check(snapshot, error) : 0;
}

int snapshot_end(struct snapshot *snapshot, GError **error)
{
	int rc = undo(snapshot, error);

	remove_folder(snapshot);
	snapshot_free(snapshot);
	return rc;
}
