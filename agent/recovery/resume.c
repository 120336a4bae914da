/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See resume.h. It may be interrupted anywhere: the next process begins it again.
 */
#include "agent/recovery/resume.h"

#include "agent/recovery/decide.h"
#include "agent/recovery/moved.h"
#include "agent/recovery/rollback.h"
#include "agent/task/facts.h"

#define ROLLBACK_TRIES 5

int recovery_begin(struct task *task, GError **error)
{
	const struct journal_job *left = task->recovered_job;
	g_autoptr(GError) rollback_error = NULL;
	int rc;

	task->recovering = true;
	task->data_sent = fact_is_known(left, FACT_DATA_SENT);
	task->keep_image = fact_is_known(left, FACT_KEEP_IMAGE);
	g_message("instance %s: novasnapd was interrupted while it served %s%s%s: it is taken up "
		  "again",
		  left->instance, left->method, task->image_id ? " into image " : "",
		  task->image_id ? task->image_id : "");
	if (recovery_drop_if_moved(task, error) < 0)
		return -1;
	task->step = "rolling back what an earlier process did";
	(void)recovery_rollback(task->agent, task->job, left, ROLLBACK_TRIES, &rollback_error);
	rc = recovery_decide(task, rollback_error, error);
	/* The image waits for data again. */
	if (rc == 1 && !task->image_verified)
		task->data_sent = false;
	return rc;
}
