/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether Ceph can be reached, for `novasnap check`.
 */
#include "virt/rbd.h"

char *virt_rbd_fsid(const struct virt_config *config, GError **error)
{
	struct image_rbd_cluster cluster = virt_rbd_cluster(config, NULL, NULL);
	struct image_rbd *rbd = virt_rbd_open(&cluster, NULL, error);
	char *fsid = rbd ? g_strdup(image_rbd_fsid(rbd)) : NULL;

	image_rbd_close(rbd);
	return fsid;
}
