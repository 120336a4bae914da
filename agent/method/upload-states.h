/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The task states while the image gets its data, in nova's order: first, pending_upload, uploading
 * (nova tries a direct snapshot, which only Ceph supports) and, unless that has succeeded,
 * pending_upload and uploading again. Clients of nova must see the same states here. nova releases
 * with plain instances used pending_upload and uploading once.
 */
#ifndef NOVASNAP_AGENT_METHOD_UPLOAD_STATES_H
#define NOVASNAP_AGENT_METHOD_UPLOAD_STATES_H

#include "agent/task/task.h"

/* The task states during a snapshot. */
struct snapshot_states {
	const char *first; /* the state before */
	const char *pending_upload;
	const char *uploading;
};

struct upload_states {
	struct task *task;
	const struct snapshot_states *states;
	/* The last one that was saved. */
	enum {
		UPLOAD_FIRST,
		UPLOAD_TRYING,	/* uploading: a direct snapshot is tried */
		UPLOAD_WAITING, /* pending_upload: it is not possible */
		UPLOAD_SENDING, /* uploading */
	} saved;
};

/* Each saves what is missing up to its state, and does nothing if that was already saved. They
 * return 0, or -1 with the conductor's error. */

/* Up to the try at a direct snapshot. */
int upload_states_begin(struct upload_states *states, GError **error);
/* Up to the preparation of the upload. */
int upload_states_wait(struct upload_states *states, GError **error);
/* Up to the upload. */
int upload_states_send(struct upload_states *states, GError **error);

#endif
