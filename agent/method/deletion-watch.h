/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The deletion watch of a snapshot that keeps nova from removing the disk of its guest: a thread
 * that asks the conductor whether the instance is being deleted, and then aborts the snapshot. nova
 * removes the disk before it undefines the guest. lvremove fails if a logical volume stays open for
 * some seconds, and with volume_clear = none nothing is written to it before that. A disk in Ceph
 * cannot be removed while it has our snapshot; nova tries for a minute
 * ([libvirt]rbd_destroy_volume_retries).
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
