/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The deletion watch of a snapshot that reads a block device of a guest that is shut off: a thread
 * that asks the conductor whether the instance is being deleted, and then aborts the snapshot. nova
 * removes the logical volume before it undefines the guest, and lvremove fails if the volume stays
 * open for some seconds. With volume_clear = none, nothing is written to the volume before that.
 */
#ifndef NOVASNAP_AGENT_DELETION_WATCH_H
#define NOVASNAP_AGENT_DELETION_WATCH_H

#include "agent/method/abort-monitor.h"

struct deletion_watch;

/* Starts the thread, which aborts by `monitor`. NULL where there is no conductor to ask, or no
 * thread, which is logged. */
struct deletion_watch *deletion_watch_start(struct task *task, struct abort_monitor *monitor);
/* Stops the thread and waits for it; a call that is under way may take
 * [DEFAULT]rpc_response_timeout. Accepts NULL. */
void deletion_watch_stop(struct deletion_watch *watch);

#endif
