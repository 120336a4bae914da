/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The abort monitor of a snapshot. While other threads read and send, it checks for reasons to
 * abort: the job was cancelled or is out of time; the guest was started, stopped or deleted; the
 * image was deleted.
 */
#ifndef NOVASNAP_AGENT_ABORT_MONITOR_H
#define NOVASNAP_AGENT_ABORT_MONITOR_H

#include "agent/task/task.h"

struct abort_monitor;

/* Starts its threads. `task` must outlive it. NULL with an error. */
struct abort_monitor *abort_monitor_start(struct task *task, GError **error);
/* Not zero once there is a reason to abort. */
const atomic_int *abort_monitor_flag(const struct abort_monitor *monitor);
/* Starts monitoring the task's image, which must exist. */
void abort_monitor_watch_image(struct abort_monitor *monitor);
/* Starts monitoring the guest of this snapshot. NULL: stops monitoring; the snapshot may then be
 * freed. */
void abort_monitor_watch_guest(struct abort_monitor *monitor, struct snapshot *snapshot);
/* Aborts because of `why`, unless there is a reason already. Takes ownership of `why`. Any
 * thread. */
void abort_monitor_abort(struct abort_monitor *monitor, GError *why);
/* The guest's disk is completely read: stops monitoring the guest. Returns false if there is
 * already a reason to abort. Any thread. */
bool abort_monitor_end_reading(struct abort_monitor *monitor);
/* If there was a reason to abort, replaces the resulting error by the reason. Clears a reason that
 * concerns only one attempt, so that the next attempt is not aborted. */
void abort_monitor_explain(struct abort_monitor *monitor, GError **error);
/* Accepts NULL. */
void abort_monitor_stop(struct abort_monitor *monitor);

#endif
