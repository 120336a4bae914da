/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whose an image is that has the name of a copy: only a copy of novasnapd's is removed.
 */
#ifndef NOVASNAP_RBD_COPY_H
#define NOVASNAP_RBD_COPY_H

#include "image/rbd/server/server.h"

/* Marks a new clone as a copy of novasnapd's. Returns 0 or a negative errno value. */
int copy_mark(rados_ioctx_t io, const char *name);

/*
 * Whether an open image of that name is a copy that novasnapd has made: it has the mark, or its
 * parent is a snapshot of novasnapd's. An image without a parent and without data passes, too: a
 * clone that was interrupted may look like that. Returns 1, 0, or a negative errno value.
 */
int copy_is_ours(struct server *server, rbd_image_t image, const char *name);

#endif
