/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ceph, as the configuration names it, with errors of virt/.
 */
#ifndef NOVASNAP_VIRT_RBD_H
#define NOVASNAP_VIRT_RBD_H

#include "image/rbd.h"
#include "virt/virt.h"

/* The cluster of the configuration. `conf` and `user` of a journaled step take the place of the
 * present ones; NULL: the present ones. The strings stay those of the arguments. */
struct image_rbd_cluster virt_rbd_cluster(const struct virt_config *config, const char *conf,
					  const char *user);

/* Moves an error of image/rbd.h or of a source to `error`, with the code of VIRT_ERROR that it has
 * here: _CANCELLED and _TIMEOUT keep their meaning, _BUSY too; the program, ceph.conf, the keyring
 * and missing rights are VIRT_ERROR_CONFIG; all others are VIRT_ERROR_FAILED. Takes ownership of
 * `own`. */
void virt_rbd_move_error(GError **error, GError *own);

/* image_rbd_open for that cluster, with an error of VIRT_ERROR. */
struct image_rbd *virt_rbd_open(const struct image_rbd_cluster *cluster, const atomic_int *cancel,
				GError **error);

/* Whether there is such an image, or such a snapshot if `snap` is not NULL, and it can be opened;
 * there is no snapshot of an image that does not exist. Returns 0, or -1 with an error of
 * VIRT_ERROR. */
int virt_rbd_exists(struct image_rbd *rbd, const char *pool, const char *image, const char *snap,
		    bool *ret_exists, GError **error);

/* Removes a snapshot, also one whose creation may still be under way: a process that has died may
 * have asked QEMU, which holds the image's lock, to create it. If there is no snapshot yet, it is
 * therefore created first, by another child, which may take 45 s. `cluster` is that of `rbd`. A
 * success if there is none. VIRT_ERROR_TIMEOUT: QEMU does not answer,
 * and may still create it. */
int virt_rbd_snap_remove(struct image_rbd *rbd, const struct image_rbd_cluster *cluster,
			 const char *pool, const char *image, const char *snap, GError **error);

#endif
