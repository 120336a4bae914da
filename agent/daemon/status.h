/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The status socket, state_dir/journal/status: what novasnapd is doing, told to whoever may read
 * the journal. Not in state_dir, where QEMU's user may put a socket of its own in its place. A Unix
 * socket of whole packets: one JSON object asks, one answers.
 *
 *   {"ask": "status"}              {"pid": 1, "version": "0.1.0", "ready": true, "held": false,
 *                                   "waiting": 0, "unhandled": 0, "jobs": [{"instance": "...",
 *                                   "image": "...", "method": "snapshot_instance", "step":
 *                                   "uploading the image", "done": 1, "total": 2}]}
 *   {"ask": "cancel", "id": "..."} {"cancelled": 1}
 *   anything else                  {"error": "..."}
 *
 * `ready`: the broker is reached; `held`: no cast is taken, for the journal cannot be written;
 * `done` and `total` are bytes, there once an upload has begun.
 */
#ifndef NOVASNAP_AGENT_STATUS_H
#define NOVASNAP_AGENT_STATUS_H

#include "agent/daemon/manager.h"

#define STATUS_ERROR status_error_quark()
GQuark status_error_quark(void);

enum status_error {
	STATUS_ERROR_FAILED, /* the socket cannot be had, or what answers makes no sense */
	STATUS_ERROR_NOBODY, /* nobody answers there, or we may not ask */
};

struct status;

/* Answers, in the thread that runs `context`, which makes no other use of the manager then. NULL
 * with STATUS_ERROR_FAILED. */
struct status *status_start(const char *state_dir, struct manager *manager, GMainContext *context,
			    GError **error);
/* In the same thread. Takes NULL. */
void status_stop(struct status *status);

/* Asks the novasnapd of that state_dir; `id` is NULL where the question has none. Ten seconds at
 * most. The caller deletes the answer; NULL with an error. */
cJSON *status_ask(const char *state_dir, const char *ask, const char *id, GError **error);

#endif
