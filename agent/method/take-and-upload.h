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

#endif
