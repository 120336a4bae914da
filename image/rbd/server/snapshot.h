/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots of an image that is open. These functions return 0 or a negative errno value.
 */
#ifndef NOVASNAP_RBD_SNAPSHOT_H
#define NOVASNAP_RBD_SNAPSHOT_H

#include "image/rbd/server/server.h"

/* Success if it is protected already. */
int snapshot_protect(rbd_image_t image, const char *snap);
/* Unprotects and removes it, with retries. Success if it does not exist. */
int snapshot_remove(struct server *server, rbd_image_t image, const char *snap);

#endif
