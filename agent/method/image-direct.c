/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See image-direct.h.
 */
#include "agent/method/image-direct.h"

#include "agent/task/facts.h"
#include "agent/task/location-step.h"
#include "agent/task/measures.h"
#include "agent/task/report.h"
#include "agent/task/step.h"

struct image_direct {
	struct task *task;
	char *url; /* of the copy, whose step is open; NULL: none */
	uint64_t size;
	gint64 began; /* monotonic us: the snapshot was begun */
};

struct image_direct *image_direct_new(struct task *task)
{
	struct image_direct *direct = g_new0(struct image_direct, 1);

	direct->task = task;
	return direct;
}

void image_direct_free(struct image_direct *direct)
{
	if (!direct)
		return;
	g_free(direct->url);
	g_free(direct);
}

/* The locations of the instance's base image, or NULL. */
static char **find_base_locations(const struct task *task)
{
	const char *base = nova_instance_string(task->instance, "image_ref");
	const char *preferred = task->agent->config->rbd_glance_store_name;
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) error = NULL;

	if (!base || !g_uuid_string_is_valid(base))
		return NULL;
	if (image_store_get(task->agent->store, &task->identity, base, &record, &error) == 0)
		return image_record_locations(record, preferred);
	g_info("instance %s: the locations of its base image are unknown: %s",
	       nova_instance_uuid(task->instance), error->message);
	return NULL;
}

static int begin_copy(void *opaque, const char *url, uint64_t size, GError **error)
{
	struct image_direct *direct = opaque;

	g_free(direct->url);
	direct->url = g_strdup(url);
	direct->size = size;
	atomic_store(&direct->task->upload_at, g_get_monotonic_time());
	return location_step_begin(direct->task, url, size, error);
}

static void report_copied(void *opaque, uint64_t done, uint64_t total)
{
	const struct image_direct *direct = opaque;
	struct task *task = direct->task;
	double part = total > 0 ? (double)MIN(done, total) / (double)total : 0;
	uint64_t bytes = done >= total ? direct->size : (uint64_t)(part * (double)direct->size);
	unsigned long long before = atomic_exchange(&task->stored, bytes);

	atomic_store(&task->total, direct->size);
	report_progress(task, "copying", NULL, bytes, direct->size,
			bytes != before && (bytes == 0 || bytes == direct->size));
}

static void forget_copied(struct task *task)
{
	atomic_store(&task->stored, 0);
	atomic_store(&task->total, 0);
}

void image_direct_keep(struct image_direct *direct)
{
	location_step_clear(direct->task);
	g_clear_pointer(&direct->url, g_free);
}

int image_direct_remove(struct image_direct *direct, GError **error)
{
	struct task *task = direct->task;

	if (!direct->url)
		return 0;
	if (task_step_begin(task, "location-remove", NULL, error) < 0 ||
	    virt_direct_copy_remove(task->agent->host, direct->url, error) < 0 ||
	    task_step_end(task, "location-remove", error) < 0) {
		g_prefix_error(error,
			       "the copy %s is left, and will be removed later: ", direct->url);
		return -1;
	}
	location_forget_sending(task);
	location_step_clear(task);
	g_clear_pointer(&direct->url, g_free);
	forget_copied(task);
	return 0;
}

/* Removes the copy. `failure` remains the error. */
static enum image_direct_result undo_copy(struct image_direct *direct, bool is_possible_otherwise,
					  GError *failure, GError **error)
{
	g_autoptr(GError) local = NULL;
	int rc = image_direct_remove(direct, &local);

	g_propagate_error(error, failure);
	if (rc == 0 && is_possible_otherwise)
		return IMAGE_DIRECT_NOT_POSSIBLE;
	/* Glance would store the uploaded data under the same name. */
	if (rc < 0)
		g_prefix_error(error, "%s; it was to be removed because: ", local->message);
	return IMAGE_DIRECT_FAILED;
}

static int save_metadata(const struct image_sending *sending, GError **error)
{
	struct image_meta meta;
	/* The copy has the bytes of the disk, whatever the configured format is. */
	cJSON *properties =
		image_metadata_build(sending->task, sending->base, sending->name, "raw", &meta);
	int rc = image_metadata_save(sending->task, &meta, error);

	cJSON_Delete(properties);
	return rc;
}

/* The image has the copy. */
static enum image_direct_result note_stored(struct image_direct *direct, GError **error)
{
	struct task *task = direct->task;

	if (fact_note_image_stored(task, error) < 0)
		return IMAGE_DIRECT_FAILED;
	measures_uploaded(task, direct->size, g_get_monotonic_time() - direct->began, 1);
	g_message("instance %s: image %s is stored: %" G_GUINT64_FORMAT " bytes at %s",
		  nova_instance_uuid(task->instance), task->image_id, direct->size, direct->url);
	image_direct_keep(direct);
	return IMAGE_DIRECT_STORED;
}

static enum image_direct_result add_location(struct image_direct *direct,
					     const struct image_sending *sending, GError **error)
{
	struct task *task = direct->task;
	GError *local = NULL;

	/* Journal this first: after a restart nothing else shows that the store may have it. */
	if (task_step_begin(task, FACT_DATA_SENT, "", &local) < 0 ||
	    location_note_sending(task, direct->url, direct->size, &local) < 0)
		return undo_copy(direct, false, local, error);
	switch (image_store_add_location(task->agent->store, &task->identity, task->image_id,
					 direct->url, abort_monitor_flag(sending->monitor),
					 &local)) {
	case IMAGE_LOCATION_ADDED:
		if (task_state_apply(task->state, TASK_EVENT_DATA_SENT, error) < 0 ||
		    task_step_end(task, FACT_DATA_SENT, error) < 0)
			return IMAGE_DIRECT_FAILED;
		return note_stored(direct, error);
	case IMAGE_LOCATION_UNKNOWN:
		(void)task_state_apply(task->state, TASK_EVENT_DATA_SENT, NULL);
		(void)task_state_apply(task->state, TASK_EVENT_IMAGE_SENT, NULL);
		g_propagate_error(error, local);
		return IMAGE_DIRECT_FAILED;
	case IMAGE_LOCATION_REFUSED:
		return undo_copy(direct, true, local, error);
	case IMAGE_LOCATION_FAILED:
	default:
		return undo_copy(direct, false, local, error);
	}
}

enum image_direct_result image_direct_send(struct image_direct *direct,
					   const struct image_sending *sending, GError **error)
{
	struct task *task = direct->task;
	g_auto(GStrv) locations = find_base_locations(task);
	const struct snapshot_direct copy = {
		.image_id = task->image_id,
		.base_locations = (const char *const *)locations,
		.progress = report_copied,
		.begin_copy = begin_copy,
		.opaque = direct,
	};
	bool is_not_possible = false;
	g_autofree char *url = NULL;
	GError *local = NULL;

	direct->began = g_get_monotonic_time();
	task->step = "copying the disk inside Ceph";
	/* If the guest is deleted, the disk's snapshot must go, or nova cannot delete the disk. */
	abort_monitor_watch_guest(sending->monitor, sending->snapshot);
	url = snapshot_copy_direct(sending->snapshot, &copy, &is_not_possible, &local);
	abort_monitor_watch_guest(sending->monitor, NULL);
	if (!url || task_step_end(task, LOCATION_STEP, &local) < 0)
		return undo_copy(direct, !url && is_not_possible, local, error);
	g_message("instance %s: copied inside Ceph in %.1f s", nova_instance_uuid(task->instance),
		  (double)(g_get_monotonic_time() - direct->began) / 1e6);
	task->step = "giving the copy to the image";
	if (save_metadata(sending, &local) < 0)
		return undo_copy(direct, false, local, error);
	return add_location(direct, sending, error);
}
