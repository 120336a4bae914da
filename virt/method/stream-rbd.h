/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The snapshot in Ceph from which a disk there is streamed or copied.
 */
#ifndef NOVASNAP_VIRT_METHOD_STREAM_RBD_H
#define NOVASNAP_VIRT_METHOD_STREAM_RBD_H

#include "virt/method/method.h"
#include "virt/rbd.h"

/* Makes a snapshot of the disk, the step "rbd-snap", and sets snapshot->rbd_snap to its name. The
 * guest is frozen meanwhile if the image allows it. Returns 0, or -1 with an error; then the step
 * may be open. */
int rbd_snap_make(struct snapshot *snapshot, struct image_rbd *rbd, GError **error);

/* virt_rbd_move_error; VIRT_ERROR_NO_DOMAIN instead if what is missing belonged to a guest that was
 * deleted meanwhile. */
void rbd_snap_move_error(struct snapshot *snapshot, GError **error, GError *own);

#endif
