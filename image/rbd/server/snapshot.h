/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots of an image that is open. These functions return 0 or a negative errno value.
 */
#ifndef NOVASNAP_RBD_SNAPSHOT_H
#define NOVASNAP_RBD_SNAPSHOT_H

#include "image/rbd/server/server.h"

/* Success if it is protected already. */
int snapshot_protect(rbd_image_t image, const char *snap);
/* Unprotects and removes it, with retries, also what an interrupted removal has left of it. Success
 * if it does not exist. */
int snapshot_remove(struct server *server, rbd_image_t image, const char *snap);
/* Returns the number of snapshots, or a negative errno value. The caller passes both to
 * snapshot_list_free(). */
int snapshot_list(rbd_image_t image, rbd_snap_info_t **ret_snaps);
void snapshot_list_free(rbd_snap_info_t *snaps, int count);

#endif
