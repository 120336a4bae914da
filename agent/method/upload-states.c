/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See upload-states.h.
 */
#include "agent/method/upload-states.h"

#include "agent/task/report.h"

int upload_states_begin(struct upload_states *states, GError **error)
{
	const struct snapshot_states *names = states->states;
	struct task *task = states->task;

	if (states->saved != UPLOAD_FIRST)
		return 0;
	/* The claim of a backup has saved the first one. */
	if (!(task->is_claimed && g_strcmp0(task->task_state, names->pending_upload) == 0) &&
	    report_task_state(task, names->pending_upload, names->first, error) < 0)
		return -1;
	if (nova_instance_is_plain(task->instance)) {
		states->saved = UPLOAD_WAITING;
		return 0;
	}
	if (report_task_state(task, names->uploading, names->pending_upload, error) < 0)
		return -1;
	states->saved = UPLOAD_TRYING;
	return 0;
}

int upload_states_wait(struct upload_states *states, GError **error)
{
	const struct snapshot_states *names = states->states;

	if (upload_states_begin(states, error) < 0)
		return -1;
	if (states->saved != UPLOAD_TRYING)
		return 0;
	if (report_task_state(states->task, names->pending_upload, names->uploading, error) < 0)
		return -1;
	states->saved = UPLOAD_WAITING;
	return 0;
}

int upload_states_send(struct upload_states *states, GError **error)
{
	const struct snapshot_states *names = states->states;

	if (upload_states_wait(states, error) < 0)
		return -1;
	if (states->saved == UPLOAD_SENDING)
		return 0;
	if (report_task_state(states->task, names->uploading, names->pending_upload, error) < 0)
		return -1;
	states->saved = UPLOAD_SENDING;
	return 0;
}
