/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See image-send.h. What is journaled here lets recovery tell a complete image from a partial one.
 */
#include "agent/method/image-send.h"

#include "agent/method/image-finish.h"
#include "agent/task/facts.h"
#include "agent/task/fault-point.h"
#include "agent/task/measures.h"
#include "agent/task/report.h"
#include "agent/task/step.h"

static void report_upload_progress(void *opaque, uint64_t sent, uint64_t total)
{
	struct task *task = ((const struct image_sending *)opaque)->task;
	unsigned long long before = atomic_exchange(&task->stored, sent);
	uint64_t known = before == UINT64_MAX ? 0 : before;
	bool is_edge = sent != before && (sent == 0 || sent == total);

	atomic_store(&task->total, total);
	/* A fault point in the middle of an upload: reports come a few times a second. */
	if (sent > 0 && sent < total && sent >= total / 2 && before < total / 2)
		(void)fault_at(FACT_DATA_SENT, "half");

	if (sent > known)
		measures_sent(task, sent - known);
	if (sent == 0)
		atomic_store(&task->upload_at, g_get_monotonic_time());
	report_progress(task, "uploading", NULL, sent, total, is_edge);
}

/* Called before the disk is read: from now on the guest must not change its disk's state. */
static void begin_reading(void *opaque)
{
	const struct image_sending *sending = opaque;

	abort_monitor_watch_guest(sending->monitor, sending->snapshot);
}

/* Called when the last byte was read, but not yet sent: checks that the data belongs to a single
 * point in time, and journals the checksum, so that recovery can tell a complete image from a
 * partial one. From now on the guest may do what it wants. */
static int verify_and_journal_checksum(void *opaque, const struct image_checksum *checksum,
				       GError **error)
{
	const struct image_sending *sending = opaque;
	struct task *task = sending->task;
	char *fact = fact_checksum_text(checksum);

	g_free(task->checksum);
	task->checksum = fact;
	if (!abort_monitor_end_reading(sending->monitor)) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_CANCELLED,
				    "reading the disk was aborted");
		return -1;
	}
	if (snapshot_verify_end(sending->snapshot, error) < 0 ||
	    task_step_begin(task, FACT_CHECKSUM, NULL, error) < 0 ||
	    (task->journal_job > 0 &&
	     journal_step_add(task->agent->journal, task->journal_job, fact, "", error) < 0))
		return -1;
	return task_step_end(task, FACT_CHECKSUM, error);
}

static void report_finishing(void *opaque, const char *why)
{
	image_finish_report(((const struct image_sending *)opaque)->task, why);
}

static int store_image(struct task *task, struct image_upload *upload, GError **error)
{
	/* Journal this first: after a restart nothing else shows that data was sent. */
	if (task_step_begin(task, FACT_DATA_SENT, "", error) < 0)
		return -1;
	task->image_asked_at = 0;
	if (task_state_apply(task->state, TASK_EVENT_DATA_SENT, error) < 0)
		return -1;
	if (image_store_upload(task->agent->store, &task->identity, task->image_id, upload, error) <
	    0) {
		/* Without the store's confirmation, the image is not deleted blindly. */
		if (upload->may_be_complete)
			(void)task_state_apply(task->state, TASK_EVENT_IMAGE_SENT, NULL);
		return -1;
	}
	if (task_step_end(task, FACT_DATA_SENT, error) < 0 ||
	    fact_note_image_stored(task, error) < 0)
		return -1;
	return upload->verified ? task_state_apply(task->state, TASK_EVENT_IMAGE_VERIFIED, error)
				: 0;
}

int image_send(const struct image_sending *sending, struct image_source *source, GError **error)
{
	struct task *task = sending->task;
	struct image_upload upload = {
		.source = source,
		.cancel = abort_monitor_flag(sending->monitor),
		.progress = report_upload_progress,
		.begin = begin_reading,
		.checksum = verify_and_journal_checksum,
		.finishing = report_finishing,
		.opaque = (void *)sending,
		.hash_algo = sending->hash_algo,
		.resuming = task_state_image(task->state) != TASK_IMAGE_UNTOUCHED,
		.late = task_was_begun(task),
	};
	gint64 began = g_get_monotonic_time();

	if (store_image(task, &upload, error) < 0)
		return -1;
	measures_uploaded(task, upload.sent, g_get_monotonic_time() - began, upload.attempts);
	g_message("instance %s: image %s is stored: %s, %" G_GUINT64_FORMAT
		  " bytes in %.1f s, attempts %u, %s %.16s...",
		  nova_instance_uuid(task->instance), task->image_id,
		  snapshot_format(sending->snapshot), upload.sent,
		  (double)(g_get_monotonic_time() - began) / 1e6, upload.attempts, upload.hash_name,
		  upload.hash);
	return 0;
}
