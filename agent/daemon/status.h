/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The status socket, state_dir/journal/status: shows those who may read the journal what novasnapd
 * is doing. It is not in state_dir itself, where QEMU's user could put a socket of its own in its
 * place. A Unix socket of type SOCK_SEQPACKET: the client sends one JSON object and gets one.
 *
 *   {"ask": "status"}              {"pid": 1, "version": "0.1.0", "ready": true, "paused": false,
 *                                   "waiting": 0, "unhandled": 0, "jobs": [{"instance": "...",
 *                                   "image": "...", "method": "snapshot_instance", "step":
 *                                   "uploading the image", "done": 1, "total": 2}]}
 *   {"ask": "cancel", "id": "..."} {"cancelled": 1}
 *   anything else                  {"error": "..."}
 *
 * `ready`: the broker is connected. `paused`: no cast is taken, because the journal cannot be
 * written. `waiting`: requests and jobs that wait. `unhandled`: casts of methods that are not
 * served, so far. `done` and `total`: bytes, once an upload has begun.
 */
#ifndef NOVASNAP_AGENT_STATUS_H
#define NOVASNAP_AGENT_STATUS_H

#include "agent/daemon/manager.h"

#define STATUS_ERROR status_error_quark()
GQuark status_error_quark(void);

enum status_error {
	STATUS_ERROR_FAILED, /* the socket cannot be made or used, or the answer is no JSON object
			      */
	STATUS_ERROR_NOBODY, /* nobody answers, or this user may not ask */
};

struct status;

/* Answers in the thread that runs `context`. `manager` must live longer. NULL with
 * STATUS_ERROR_FAILED. */
struct status *status_start(const char *state_dir, struct manager *manager, GMainContext *context,
			    GError **error);
/* In the same thread. Takes NULL. */
void status_stop(struct status *status);

/* Asks the novasnapd of that state_dir, for ten seconds at most. `id`: NULL where the question has
 * none. The caller deletes the answer. NULL with an error. */
cJSON *status_ask(const char *state_dir, const char *ask, const char *id, GError **error);

#endif
