/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where an image has data.
 */
#ifndef NOVASNAP_RBD_EXTENTS_H
#define NOVASNAP_RBD_EXTENTS_H

#include "image/rbd/server/server.h"

/* Sends the extents with data, in order, of an image that is open at a snapshot. `name` is for
 * messages. Returns 0, or a negative errno value before anything was sent. */
int extents_send(struct server *server, rbd_image_t image, uint64_t size);

#endif
