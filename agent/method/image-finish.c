/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See image-finish.h.
 */
#include "agent/method/image-finish.h"

#include "agent/task/facts.h"
#include "agent/task/location-step.h"
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

enum verdict {
	VERDICT_WRONG = -1, /* the image differs, or is deleted; an error is set */
	VERDICT_UNKNOWN,    /* the store does not know yet, or did not answer; an error is set */
	VERDICT_EMPTY,	    /* it waits for data; an error is set */
	VERDICT_VERIFIED,
};

static enum verdict classify_record(const struct task *task, const struct image_record *record,
				    GError **error)
{
	if (g_strcmp0(record->status, "active") == 0)
		return fact_verify_image(task, record, error) < 0 ? VERDICT_WRONG
								  : VERDICT_VERIFIED;
	if (g_strcmp0(record->status, "deleted") == 0 ||
	    g_strcmp0(record->status, "pending_delete") == 0) {
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND,
			    "image %s was deleted after its upload", task->image_id);
		return VERDICT_WRONG;
	}
	if (g_strcmp0(record->status, "killed") == 0) {
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_MISMATCH,
			    "image %s was killed by the store after its upload", task->image_id);
		return VERDICT_WRONG;
	}
	g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE,
		    "image %s is %s after its upload, not active", task->image_id, record->status);
	return g_strcmp0(record->status, "queued") == 0 && !location_may_come(task, record)
		       ? VERDICT_EMPTY
		       : VERDICT_UNKNOWN;
}

static enum verdict ask_store(struct task *task, GError **error)
{
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) local = NULL;
	enum verdict verdict = VERDICT_UNKNOWN;

	if (image_store_get(task->agent->store, &task->identity, task->image_id, &record, &local) ==
	    0)
		return classify_record(task, record, error);
	if (g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND))
		verdict = VERDICT_WRONG;
	g_propagate_error(error, g_steal_pointer(&local));
	return verdict;
}

/* A store that answers with another error, such as 403, will hardly verify the image later. */
static gint64 time_limit_us(const struct task *task, bool is_away)
{
	const struct config *config = task->agent->config;

	return (gint64)G_USEC_PER_SEC *
	       (is_away ? config->finishing_timeout_s : config->image.saving_timeout_s);
}

static unsigned pause_ms(gint64 waited_us)
{
	gint64 part_ms = waited_us / 1000 / PAUSE_PART;

	return (unsigned)CLAMP(part_ms, PAUSE_MS, PAUSE_MAX_MS);
}

/* Asks until the verdict is clear or the time is over. `wait`: job_wait or
 * job_wait_despite_cancel; *ret_ended: it was ended by a cancellation or a stop. */
static enum verdict ask_until_known(struct task *task, bool (*wait)(struct job *job, unsigned ms),
				    bool is_last, bool *ret_ended, GError **error)
{
	bool is_confirmed = task_state_image(task->state) == TASK_IMAGE_STORED;
	gint64 began = g_get_monotonic_time();
	gint64 until = fact_image_asked_until(task, time_limit_us(task, true));
	gint64 refused_until = fact_image_asked_until(task, time_limit_us(task, false));

	*ret_ended = false;
	for (;;) {
		g_autoptr(GError) local = NULL;
		enum verdict verdict = ask_store(task, &local);
		gint64 now = g_get_monotonic_time();
		bool is_away = g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE);
		/* A confirmed image is not empty: the record is not up to date. */
		bool is_open =
			verdict == VERDICT_UNKNOWN || (verdict == VERDICT_EMPTY && is_confirmed);

		if (is_open && now <= (is_away ? until : refused_until)) {
			fact_note_image_asked(task);
			image_finish_report(task, local->message);
			if (is_last)
				job_release_key(task->job);
			if (wait(task->job, pause_ms(now - began)))
				continue;
			*ret_ended = true;
		}
		if (local)
			g_propagate_error(error, g_steal_pointer(&local));
		return is_open ? VERDICT_UNKNOWN : verdict;
	}
}

enum image_confirmation image_confirm(struct task *task, GError **error)
{
	g_autoptr(GError) local = NULL;
	bool ended;
	enum verdict verdict = ask_until_known(task, job_wait, false, &ended, &local);

	if (verdict == VERDICT_EMPTY)
		return IMAGE_CONFIRM_EMPTY;
	if (verdict == VERDICT_VERIFIED)
		return fact_note_image_stored(task, error) < 0 ||
				       task_state_apply(task->state, TASK_EVENT_IMAGE_VERIFIED,
							error) < 0
			       ? IMAGE_CONFIRM_FAILED
			       : IMAGE_CONFIRMED;
	if (ended)
		(void)task_fail_cancelled(task, error);
	else
		g_propagate_error(error, g_steal_pointer(&local));
	return IMAGE_CONFIRM_FAILED;
}

static int verify_image(struct task *task, bool is_last, GError **error)
{
	g_autoptr(GError) local = NULL;
	const char *why;
	bool ended;

	switch (ask_until_known(task, job_wait_despite_cancel, is_last, &ended, &local)) {
	case VERDICT_VERIFIED:
		return task_state_apply(task->state, TASK_EVENT_IMAGE_VERIFIED, error);
	case VERDICT_WRONG:
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	case VERDICT_UNKNOWN:
	case VERDICT_EMPTY:
	default:
		break;
	}
	why = local ? local->message : "unknown";
	if (ended) {
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE,
			    "novasnapd is stopping before image %s was verified: %s",
			    task->image_id, why);
		return -1;
	}
	g_warning("instance %s: image %s is stored, but could not be verified: %s",
		  nova_instance_uuid(task->instance), task->image_id, why);
	return 0;
}

int image_finish(struct task *task, bool is_last, GError **error)
{
	if (task_state_image(task->state) == TASK_IMAGE_KEPT)
		return 0;
	task->step = "verifying the image";
	if (task_state_image(task->state) == TASK_IMAGE_STORED &&
	    verify_image(task, is_last, error) < 0)
		return -1;
	if (task_state_image(task->state) != TASK_IMAGE_VERIFIED)
		return 0;
	g_message("instance %s: image %s is active: %s", nova_instance_uuid(task->instance),
		  task->image_id,
		  fact_location_is_sent(task)
			  ? "its size is that of the disk; Glance hashes such data later or not at "
			    "all, so no hash was compared"
			  : "size and hash are those of the data sent");
	return fact_keep_image(task, error);
}
