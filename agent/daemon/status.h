/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The status socket, state_dir/journal/status: reports what novasnapd is doing to users who may
 * read the journal. It is not directly in state_dir, where QEMU's user could replace it. It is a
 * Unix socket of type SOCK_SEQPACKET: the client sends one JSON object and receives one.
 * - {"ask": "status"} is answered with {"pid": 1, "version": "0.1.0", "ready": true, "mode":
 *   "exclusive", "paused": false, "waiting": 0, "unhandled": 0, "moving": 0, "rejected": 0,
 *   "unsupported": 0, "jobs": [{"job": 17, "instance": "...", "image": "...", "method":
 *   "snapshot_instance", "stage": "running", "step": "uploading the image", "snapshot_method":
 *   "stream", "resumed": false, "seconds": 3.2, "done": 1, "total": 2}], "waiting_jobs": []};
 * - {"ask": "cancel", "id": "..."} with {"cancelled": 1};
 * - anything else with {"error": "..."}.
 *
 * `mode`: with "beside" there is also the member "beside": {"stage": "enabled", "given_back":
 * false, "consuming": true, "intercepting": true, "held": 0, "forwarded": 17, "taken": 2,
 * "dead_lettered": 0, "delay_ms": {"last": 1.5, "median": 1.4, "max": 9.0}, "hop_ms": {...},
 * "problem": "..."}.
 * - `stage`, `given_back`: as in agent/beside/state.h;
 * - `intercepting`: snapshots are taken;
 * - `held`: messages that have arrived and are not acked yet;
 * - `dead_lettered`: messages that could not be published as they are, and were left to the broker;
 * - `delay_ms`: from publishing to arrival of a message that novasnapd sends to itself each 30 s;
 * - `hop_ms`: from the arrival of a forwarded message to the confirmation of its copy;
 * - of both the last one, the median of the last three minutes and the largest since the start;
 * null: not measured yet, or not in these minutes;
 * - `problem`: why novasnapd does not consume or forward.
 *
 * `ready`: the broker is connected. `paused`: no casts are accepted, because the journal cannot be
 * written. `waiting`: the number of waiting requests and jobs. `unhandled`: the number of casts
 * with an unsupported method so far. `moving`: how many of them wait to be moved to the queue of
 * unhandled casts. `rejected`: the number of messages that could not be used so
 * far. `unsupported`: the number of messages with an unsupported compression or content type so
 * far.
 *
 * `jobs` are those that run, and `waiting_jobs` the first hundred that wait for a thread or for
 * another job of their instance:
 * - `job`: its number in the journal, if it is there;
 * - `stage`: as in agent/task/state.h: "waiting", "recovering", "running", and others at the end;
 * - `snapshot_method`: once it is chosen; `resumed`: an earlier process has taken the request;
 * - `seconds`: since this process has it;
 * - `done` and `total`: bytes, once an upload has begun.
 */
#ifndef NOVASNAP_AGENT_STATUS_H
#define NOVASNAP_AGENT_STATUS_H

#include "agent/daemon/manager.h"

#define STATUS_ERROR status_error_quark()
GQuark status_error_quark(void);

enum status_error {
	STATUS_ERROR_FAILED, /* the socket cannot be created or used, or the answer is malformed */
	STATUS_ERROR_NOBODY, /* nobody answers, or this user may not ask */
};

struct status;

/* Answers in the thread that runs `context`. `manager` must outlive it. NULL with
 * STATUS_ERROR_FAILED. */
struct status *status_start(const char *state_dir, struct manager *manager, GMainContext *context,
			    GError **error);
/* In the same thread. Accepts NULL. */
void status_stop(struct status *status);

/* Sends a question to the novasnapd of that state_dir, and waits at most ten seconds. `id`: NULL if
 * the question has none. The caller deletes the answer. NULL with an error. */
cJSON *status_ask(const char *state_dir, const char *ask, const char *id, GError **error);

#endif
