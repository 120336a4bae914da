/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The abort monitor of a snapshot: it watches for reasons to abort while other threads read and
 * send. The job was cancelled or is out of time; the guest started, stopped or was deleted; the
 * image was deleted.
 */
#ifndef NOVASNAP_AGENT_ABORT_MONITOR_H
#define NOVASNAP_AGENT_ABORT_MONITOR_H

#include "agent/task/task.h"

struct abort_monitor;

/* Starts its threads. `task` must live longer. NULL with an error. */
struct abort_monitor *abort_monitor_start(struct task *task, GError **error);
/* Not zero once there is a reason to abort. */
const atomic_int *abort_monitor_flag(const struct abort_monitor *monitor);
/* From now on it watches the task's image, which exists. */
void abort_monitor_watch_image(struct abort_monitor *monitor);
/* From now on it watches the guest of this snapshot. NULL: no guest; the snapshot may be freed
 * then. */
void abort_monitor_watch_guest(struct abort_monitor *monitor, struct snapshot *snapshot);
/* Where there was a reason to abort, replaces the error that followed from it by the reason. Clears
 * a reason that concerns one attempt only, so that a further attempt is not aborted by it. */
void abort_monitor_explain(struct abort_monitor *monitor, GError **error);
/* Takes NULL. */
void abort_monitor_stop(struct abort_monitor *monitor);

#endif
