/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Takes a snapshot of a guest's disk and uploads it. Shared by several methods.
 */
#ifndef NOVASNAP_AGENT_TAKE_AND_UPLOAD_H
#define NOVASNAP_AGENT_TAKE_AND_UPLOAD_H

#include "agent/method/upload-states.h"

/* nova.virt.libvirt.driver.snapshot: uploads the guest's disk to the image store, in one of
 * max_concurrent_snapshots slots. Does nothing if the image is already complete. Returns 0, or -1
 * with an error. */
int snapshot_take_and_upload(struct task *task, const struct snapshot_states *states,
			     GError **error);

/* nova.compute.manager._snapshot_instance: saves the power state, calls snapshot_take_and_upload
 * between its notifications, clears the task state, and verifies the image. `first`: the task state
 * before. `is_last`: as of image_finish. Returns 0, or -1 with an error. */
int snapshot_instance_steps(struct task *task, const char *first, bool is_last, GError **error);

#endif
