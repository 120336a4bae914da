/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See image-finish.h.
 */
#include "agent/method/image-finish.h"

#include "agent/task/facts.h"
#include "agent/task/report.h"

/* The pause grows with the time that was waited. */
#define PAUSE_MS 1000
#define PAUSE_MAX_MS 10000
#define PAUSE_PART 20
#define LOG_INTERVAL_US (60 * G_USEC_PER_SEC)
#define STEP "waiting until Glance has stored the image"

void image_finish_report(struct task *task, const char *why)
{
	long long now = g_get_monotonic_time();
	bool is_first = !g_str_equal(task->step, STEP);

	task->step = STEP;
	if (!is_first && now - atomic_load(&task->logged_at) < LOG_INTERVAL_US)
		return;
	atomic_store(&task->logged_at, now);
	report_progress(task, "finishing", why, 0, 0, true);
	g_message("instance %s: image %s: all data was sent; waiting until Glance has stored it: "
		  "%s",
		  nova_instance_uuid(task->instance), task->image_id, why);
}

/* 1: verified; 0 with an error: the store does not know yet, or did not answer; -1 with an error:
 * the image is wrong or gone. */
static int verify_once(struct task *task, GError **error)
{
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) local = NULL;

	if (image_store_get(task->agent->store, &task->identity, task->image_id, &record, &local) <
	    0) {
		int rc = g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND) ? -1 : 0;

		g_propagate_error(error, g_steal_pointer(&local));
		return rc;
	}
	if (g_strcmp0(record->status, "active") == 0)
		return fact_verify_image(task, record, error) < 0 ? -1 : 1;
	if (g_strcmp0(record->status, "deleted") == 0 ||
	    g_strcmp0(record->status, "pending_delete") == 0) {
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND,
			    "image %s was deleted after its upload", task->image_id);
		return -1;
	}
	g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE,
		    "image %s is %s after its upload, not active", task->image_id, record->status);
	return 0;
}

/* A store that answers with another error, such as 403, will hardly verify the image later. */
static gint64 time_limit_us(const struct task *task, const GError *error)
{
	const struct image_config *config = &task->agent->config->image;

	return (gint64)G_USEC_PER_SEC *
	       (g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE)
			? config->finishing_timeout_s
			: config->saving_timeout_s);
}

static unsigned pause_ms(gint64 waited_us)
{
	gint64 part_ms = waited_us / 1000 / PAUSE_PART;

	return (unsigned)CLAMP(part_ms, PAUSE_MS, PAUSE_MAX_MS);
}

static int verify_image(struct task *task, GError **error)
{
	gint64 began = g_get_monotonic_time();

	for (;;) {
		g_autoptr(GError) local = NULL;
		int rc = verify_once(task, &local);

		if (rc > 0)
			return task_state_image(task->state) == TASK_IMAGE_STORED
				       ? task_state_apply(task->state, TASK_EVENT_IMAGE_VERIFIED,
							  error)
				       : 0;
		if (rc < 0) {
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
		if (g_get_monotonic_time() - began > time_limit_us(task, local)) {
			g_warning("instance %s: image %s is stored, but could not be verified: %s",
				  nova_instance_uuid(task->instance), task->image_id,
				  local->message);
			return 0;
		}
		image_finish_report(task, local->message);
		if (job_wait_despite_cancel(task->job, pause_ms(g_get_monotonic_time() - began)))
			continue;
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE,
			    "novasnapd is stopping before image %s was verified: %s",
			    task->image_id, local->message);
		return -1;
	}
}

int image_finish(struct task *task, GError **error)
{
	if (task_state_image(task->state) == TASK_IMAGE_KEPT)
		return 0;
	task->step = "verifying the image";
	if (task_state_image(task->state) == TASK_IMAGE_STORED && verify_image(task, error) < 0)
		return -1;
	if (task_state_image(task->state) != TASK_IMAGE_VERIFIED)
		return 0;
	g_message("instance %s: image %s is active: size and hash are those of the data sent",
		  nova_instance_uuid(task->instance), task->image_id);
	return fact_keep_image(task, error);
}
