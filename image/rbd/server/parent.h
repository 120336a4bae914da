/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The snapshot of which an image is a clone.
 */
#ifndef NOVASNAP_RBD_PARENT_H
#define NOVASNAP_RBD_PARENT_H

#include "image/rbd/server/server.h"

/* Opens the parent's snapshot; the caller closes the image, and then the pool. Returns 0, -ENOENT
 * without a parent, or another negative errno value. */
int parent_open(struct server *server, rbd_image_t image, rados_ioctx_t *ret_io,
		rbd_image_t *ret_parent);

/* Whether the snapshot's name begins with `prefix`. A snapshot that was removed while it had
 * clones is in the trash, under another name: its own name is compared. Returns 1, 0, -ENOENT
 * without a parent, or another negative errno value. */
int parent_has_prefix(struct server *server, rbd_image_t image, const char *prefix);

#endif
