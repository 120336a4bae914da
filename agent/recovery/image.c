/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See image.h.
 */
#include "agent/recovery/image.h"

#include "agent/task/facts.h"
#include "agent/task/location-step.h"

#define PAUSE_MS 2000
/* How long queries are retried while the store does not answer. */
#define UNANSWERED_S (24 * 3600LL)
/* If the client's host lost power, Glance waits for data until client_socket_timeout, a quarter of
 * an hour. So this many times the usual limit is needed. */
#define SAVING_TIMES 8

static bool may_be_complete(const struct task *task)
{
	return task_state_image(task->state) == TASK_IMAGE_SENT ||
	       task_state_has_complete_image(task->state);
}

/* `record` is not active. */
static enum image_standing classify_inactive(const struct task *task,
					     const struct image_record *record, GError **error)
{
	bool is_queued = g_strcmp0(record->status, "queued") == 0;

	if (is_queued && !task_state_has_complete_image(task->state) &&
	    !location_may_come(task, record))
		return IMAGE_WAITS;
	g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
		    "novasnapd was interrupted during this request, and image %s is now %s: it is "
		    "unknown whether the image is complete",
		    task->image_id, record->status);
	return IMAGE_UNKNOWN;
}

/* `ret_may_change`: with IMAGE_UNKNOWN, whether the store may still find out more. */
static enum image_standing query_image(struct task *task, bool *ret_may_change, GError **error)
{
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) local = NULL;

	*ret_may_change = false;
	if (image_store_get(task->agent->store, &task->identity, task->image_id, &record, &local) <
	    0) {
		bool is_missing = g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND);

		/* A directory store has no record before the upload. */
		if (is_missing && task->agent->config->image.directory &&
		    !task_state_has_complete_image(task->state))
			return IMAGE_WAITS;
		*ret_may_change = may_be_complete(task);
		g_propagate_error(error, g_steal_pointer(&local));
		return is_missing ? IMAGE_UNUSABLE : IMAGE_UNKNOWN;
	}
	if (g_strcmp0(record->status, "active") == 0)
		return fact_verify_image(task, record, error) == 0 ? IMAGE_COMPLETE
								   : IMAGE_UNUSABLE;
	*ret_may_change =
		g_strcmp0(record->status, "saving") == 0 || location_may_come(task, record);
	return classify_inactive(task, record, error);
}

enum image_standing recovery_ask_image(struct task *task, GError **error)
{
	const struct config *config = task->agent->config;
	/* A complete image cannot be cancelled. */
	bool (*wait)(struct job * job, unsigned ms) =
		task_state_has_complete_image(task->state) ? job_wait_despite_cancel : job_wait;
	gint64 saving_s = (gint64)SAVING_TIMES * config->image.saving_timeout_s;
	gint64 limit_s = may_be_complete(task) ? MAX(saving_s, (gint64)config->finishing_timeout_s)
					       : saving_s;
	gint64 saving_until = fact_image_asked_until(task, limit_s * G_USEC_PER_SEC);
	gint64 unanswered_until = g_get_monotonic_time() + UNANSWERED_S * G_USEC_PER_SEC;

	for (;;) {
		g_autoptr(GError) local = NULL;
		bool may_change;
		enum image_standing standing = query_image(task, &may_change, &local);
		bool is_away = g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE);
		gint64 until = is_away ? unanswered_until : saving_until;

		if (standing == IMAGE_UNKNOWN && (is_away || may_change) &&
		    g_get_monotonic_time() <= until) {
			fact_note_image_asked(task);
			if (wait(task->job, PAUSE_MS))
				continue;
		}
		if (local)
			g_propagate_error(error, g_steal_pointer(&local));
		return standing;
	}
}
