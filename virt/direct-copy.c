/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Removing the copy of a disk that was made inside Ceph (method/rbd-direct.c).
 */
#include "virt/libvirt/connection.h"
#include "virt/rbd-location.h"
#include "virt/rbd.h"

static bool is_missing(struct image_rbd *rbd, const struct rbd_location *location)
{
	bool exists;

	return virt_rbd_exists(rbd, location->pool, location->image, NULL, &exists, NULL) == 0 &&
	       !exists;
}

static int remove_copy(struct image_rbd *rbd, const struct rbd_location *location, GError **error)
{
	GError *own = NULL;

	if (!g_str_equal(image_rbd_fsid(rbd), location->fsid)) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_CONFIG,
			    "the copy %s/%s is in the Ceph cluster %s, but "
			    "[libvirt]images_rbd_ceph_conf is of the cluster %s",
			    location->pool, location->image, location->fsid, image_rbd_fsid(rbd));
		return -1;
	}
	if (image_rbd_remove_copy(rbd, location->pool, location->image, &own) == 0)
		return 0;
	if (g_error_matches(own, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_EXISTS)) {
		g_warning("the image %s/%s in Ceph was made by another program, and is left",
			  location->pool, location->image);
		g_error_free(own);
		return 0;
	}
	/* Who may not write to the pool has made no copy in it. */
	if (g_error_matches(own, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_DENIED) &&
	    is_missing(rbd, location)) {
		g_error_free(own);
		return 0;
	}
	virt_rbd_move_error(error, own);
	return -1;
}

int virt_direct_copy_remove(struct virt_host *host, const char *location, GError **error)
{
	struct image_rbd_cluster cluster = virt_rbd_cluster(host->config, NULL, NULL);
	struct rbd_location parsed;
	struct image_rbd *rbd = NULL;
	int rc = -1;

	if (rbd_location_parse(location, &parsed))
		rbd = virt_rbd_open(&cluster, NULL, error);
	else
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "%s is no location in Ceph",
			    location);
	if (rbd)
		rc = remove_copy(rbd, &parsed, error);
	image_rbd_close(rbd);
	rbd_location_clear(&parsed);
	return rc;
}
