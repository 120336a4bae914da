/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See image.h.
 */
#include "agent/recovery/image.h"

#include "agent/task/facts.h"

#define PAUSE_MS 2000
/* How long queries are retried while the store does not answer. */
#define UNANSWERED_S (24 * 3600LL)
/* If the client's host lost power, Glance waits for data until client_socket_timeout, a quarter of
 * an hour. So this many times the usual limit is needed. */
#define SAVING_TIMES 8

static gint64 deadline_in(gint64 seconds)
{
	return g_get_monotonic_time() + seconds * G_USEC_PER_SEC;
}

/* `ret_is_saving`: with IMAGE_UNKNOWN, whether the store may still find out more. */
static enum image_standing query_image(struct task *task, bool *ret_is_saving, GError **error)
{
	bool may_wait = task_state_image(task->state) != TASK_IMAGE_KEPT;
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) local = NULL;

	*ret_is_saving = false;
	if (image_store_get(task->agent->store, &task->identity, task->image_id, &record, &local) <
	    0) {
		/* A directory store has no record before the upload. */
		if (may_wait && task->agent->config->image.directory &&
		    g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND))
			return IMAGE_WAITS;
		g_propagate_error(error, g_steal_pointer(&local));
		return IMAGE_UNKNOWN;
	}
	if (g_strcmp0(record->status, "active") == 0 &&
	    fact_image_matches(task->recovered_job, record))
		return IMAGE_COMPLETE;
	if (may_wait && g_strcmp0(record->status, "queued") == 0)
		return IMAGE_WAITS;
	*ret_is_saving = g_strcmp0(record->status, "saving") == 0;
	g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
		    "novasnapd was interrupted during this request, and image %s is now %s: it is "
		    "unknown whether the image is complete",
		    task->image_id, record->status);
	return IMAGE_UNKNOWN;
}

enum image_standing recovery_ask_image(struct task *task, GError **error)
{
	/* A kept image cannot be cancelled. */
	bool (*wait)(struct job * job, unsigned ms) =
		task_state_image(task->state) == TASK_IMAGE_KEPT ? job_wait_despite_cancel
								 : job_wait;
	gint64 saving = task->agent->config->image.saving_timeout_s;
	gint64 saving_until = deadline_in(SAVING_TIMES * saving);
	gint64 unanswered_until = deadline_in(UNANSWERED_S);

	for (;;) {
		g_autoptr(GError) local = NULL;
		bool is_saving;
		enum image_standing standing = query_image(task, &is_saving, &local);
		bool is_away = g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE);
		gint64 until = is_away ? unanswered_until : saving_until;

		if (standing != IMAGE_UNKNOWN)
			return standing;
		if (!(is_away || is_saving) || g_get_monotonic_time() > until ||
		    !wait(task->job, PAUSE_MS)) {
			g_propagate_error(error, g_steal_pointer(&local));
			return IMAGE_UNKNOWN;
		}
	}
}
