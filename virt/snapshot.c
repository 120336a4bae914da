/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One snapshot, from the choice of its method to the restoration of the guest.
 */
#include <cjson/cJSON.h>
#include <stdlib.h>

#include "virt/domain/disk-stamp.h"
#include "virt/domain/guest-query.h"
#include "virt/method/method.h"
#include "virt/method/table.h"
#include "virt/staging.h"
#include "virt/steps.h"

static void snapshot_free(struct snapshot *snapshot)
{
	domain_events_stop(snapshot->events);
	guest_close(&snapshot->guest);
	disk_free(snapshot->disk);
	steps_free(snapshot);
	g_free(snapshot->id);
	g_free(snapshot->format);
	g_free(snapshot->delta);
	g_free(snapshot->image);
	g_free(snapshot->disk_stamp);
	g_free(snapshot->rbd_snap);
	g_free(snapshot);
}

static int read_guest(struct snapshot *snapshot, GError **error)
{
	char *xml;

	snapshot->first_state = guest_state(&snapshot->guest, NULL, error);
	if (snapshot->first_state < 0)
		return -1;
	xml = guest_xml(&snapshot->guest, 0, error);
	if (!xml)
		return -1;
	domain_traits_read(xml, &snapshot->traits);
	snapshot->disk = snapshot->traits.container
				 ? root_disk_find_of_container(
					   xml, snapshot->config->container_format, error)
				 : root_disk_find(xml, error);
	free(xml);
	return snapshot->disk ? 0 : -1;
}

static int choose_method(struct snapshot *snapshot, const char *image_format, GError **error)
{
	struct virt_config config = *snapshot->config;

	if (image_format)
		config.snapshot_image_format = image_format;
	snapshot->method = snapshot_method_choose(&config, &snapshot->traits, snapshot->disk,
						  snapshot->first_state, error);
	if (!snapshot->method)
		return -1;
	snapshot->format = g_strdup(snapshot_format_choose(&config, snapshot->disk));
	return 0;
}

struct snapshot *snapshot_new(struct virt_host *host, const struct snapshot_request *request,
			      GError **error)
{
	struct snapshot *snapshot = g_new0(struct snapshot, 1);
	g_autofree char *uuid = g_uuid_string_random();

	guest_init(&snapshot->guest, host, request->uuid);
	snapshot->config = host->config;
	snapshot->cancel = request->cancel;
	snapshot->steps = request->steps;
	snapshot->id = g_strndup(uuid, 8);
	snapshot->guest_agent = request->guest_agent;
	snapshot->require_quiesce = request->require_quiesce;
	snapshot->compression = request->compression;
	if (read_guest(snapshot, error) == 0 &&
	    choose_method(snapshot, request->image_format, error) == 0)
		snapshot->events = domain_events_start(&snapshot->guest, snapshot->disk->target,
						       VIR_DOMAIN_BLOCK_JOB_TYPE_COPY, error);
	if (snapshot->events)
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

bool snapshot_gives_disk(const struct snapshot *snapshot)
{
	return snapshot->method->open != NULL;
}

bool snapshot_may_stop_guest(const struct snapshot *snapshot)
{
	return snapshot->method->prepare != NULL;
}

bool snapshot_reads_idle_device(const struct snapshot *snapshot)
{
	return !snapshot->method->live && !snapshot->traits.container &&
	       disk_is_device(snapshot->disk);
}

bool snapshot_blocks_deletion(const struct snapshot *snapshot)
{
	return disk_is_rbd(snapshot->disk) || snapshot_reads_idle_device(snapshot);
}

int snapshot_prepare(struct snapshot *snapshot, GError **error)
{
	return snapshot->method->prepare ? snapshot->method->prepare(snapshot, error) : 0;
}

/* Closes the steps, except `except`, and frees what the method holds. */
static int close_steps(struct snapshot *snapshot, const char *except, GError **error)
{
	int rc = steps_close_all(snapshot, except, error);

	if (snapshot->method->release)
		snapshot->method->release(snapshot);
	return rc;
}

static bool has_room(struct snapshot *snapshot, const struct snapshot_method *method,
		     GError **error)
{
	return !method->check_room || method->check_room(snapshot, error) == 0;
}

/* Closes the steps of a method that cannot take the snapshot because of `why`, and uses its
 * fallback. Takes ownership of `why`. */
static struct image_source *use_fallback(struct snapshot *snapshot, bool check_room, GError *why,
					 GError **error)
{
	const struct snapshot_method *method = snapshot->method;
	struct image_source *image = NULL;
	g_autoptr(GError) not_closed = NULL;

	if (close_steps(snapshot, NULL, &not_closed) < 0) {
		g_warning("guest %s: %s", snapshot->guest.uuid, not_closed->message);
		g_propagate_error(error, why);
		return NULL;
	}
	if (!check_room || has_room(snapshot, method->fallback, error)) {
		g_warning("guest %s: the method %s is not possible here (%s): using %s instead",
			  snapshot->guest.uuid, method->name, why->message, method->fallback->name);
		snapshot->method = method->fallback;
		image = snapshot_take(snapshot, error);
	}
	if (!image)
		g_prefix_error(error, "the method %s is not possible here (%s); the method %s: ",
			       method->name, why->message, method->fallback->name);
	g_error_free(why);
	return image;
}

static struct image_source *open_disk(struct snapshot *snapshot, GError **error)
{
	g_autoptr(GError) not_closed = NULL;
	GError *why = NULL;
	struct image_source *disk = NULL;
	enum snapshot_open_result result = snapshot->method->open(snapshot, &disk, &why);

	if (result == SNAPSHOT_OPENED)
		return disk;
	if (result != SNAPSHOT_FAILED)
		return use_fallback(snapshot, result == SNAPSHOT_NO_ROOM, why, error);
	if (close_steps(snapshot, NULL, &not_closed) < 0)
		g_warning("guest %s: %s", snapshot->guest.uuid, not_closed->message);
	g_propagate_error(error, why);
	return NULL;
}

static int make_staging_folder(struct snapshot *snapshot, GError **error)
{
	g_autofree char *folder = staging_folder_name(snapshot->config->snapshots_directory);
	cJSON *undo = cJSON_CreateObject();

	cJSON_AddStringToObject(undo, "folder", folder);
	if (step_begin(snapshot, "folder", undo, error) < 0 ||
	    staging_folder_make(folder, error) < 0)
		return -1;
	snapshot->delta = g_build_filename(folder, STAGING_DELTA, NULL);
	snapshot->image = g_build_filename(folder, STAGING_IMAGE, NULL);
	return step_end(snapshot, "folder", error);
}

static void remove_staging_folder(struct snapshot *snapshot)
{
	g_autoptr(GError) error = NULL;

	if (step_close(snapshot, "folder", &error) < 0)
		g_warning("guest %s: %s", snapshot->guest.uuid, error->message);
}

static struct image_source *take_image(struct snapshot *snapshot, GError **error)
{
	struct image_source *image = NULL;
	g_autoptr(GError) not_closed = NULL;
	int rc = make_staging_folder(snapshot, error);

	if (rc == 0)
		rc = snapshot->method->take(snapshot, error);
	/* The guest has priority: it is restored before the upload begins. */
	if (close_steps(snapshot, "folder", &not_closed) < 0) {
		if (rc == 0)
			g_propagate_error(error, g_steal_pointer(&not_closed));
		else
			g_warning("guest %s: %s", snapshot->guest.uuid, not_closed->message);
		rc = -1;
	}
	if (rc == 0)
		image = image_source_new_file(snapshot->image, error);
	/* The source keeps the file open. It is removed now, so that a killed novasnapd leaves
	 * nothing behind. */
	remove_staging_folder(snapshot);
	return image;
}

struct image_source *snapshot_take(struct snapshot *snapshot, GError **error)
{
	return snapshot->method->open ? open_disk(snapshot, error) : take_image(snapshot, error);
}

struct image_source *snapshot_take_fallback(struct snapshot *snapshot, GError *why, GError **error)
{
	if (snapshot->method->fallback &&
	    g_error_matches(why, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED))
		return use_fallback(snapshot, false, why, error);
	g_propagate_error(error, why);
	return NULL;
}

int snapshot_verify_instant(struct snapshot *snapshot, GError **error)
{
	return snapshot->method->verify ? snapshot->method->verify(snapshot, error) : 0;
}

int snapshot_verify_end(struct snapshot *snapshot, GError **error)
{
	return snapshot->method->verify_end ? snapshot->method->verify_end(snapshot, error) : 0;
}

int snapshot_end(struct snapshot *snapshot, GError **error)
{
	int rc = close_steps(snapshot, NULL, error);

	snapshot_free(snapshot);
	return rc;
}
