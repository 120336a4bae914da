/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The common part of snapshots and backups.
 */
#ifndef NOVASNAP_AGENT_METHOD_SNAPSHOT_INSTANCE_H
#define NOVASNAP_AGENT_METHOD_SNAPSHOT_INSTANCE_H

#include "agent/task/task.h"

/* nova.compute.manager._snapshot_instance: saves the power state, calls snapshot_take_and_upload
 * between its notifications, clears the task state, and verifies the image. `first`: the task state
 * before. `is_last`: as of image_finish. Returns 0, or -1 with an error. */
int snapshot_instance_steps(struct task *task, const char *first, bool is_last, GError **error);

#endif
