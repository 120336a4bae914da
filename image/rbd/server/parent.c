/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See parent.h.
 */
#include "image/rbd/server/parent.h"

#include <errno.h>

#define NAME_SIZE 256

int parent_open(struct server *server, rbd_image_t image, rados_ioctx_t *ret_io,
		rbd_image_t *ret_parent)
{
	rbd_linked_image_spec_t parent;
	rbd_snap_spec_t snap;
	int rc = rbd_get_parent(image, &parent, &snap);

	if (rc < 0)
		return rc;
	rc = parent.trash ? -EOPNOTSUPP
			  : rados_ioctx_create2(server->cluster, parent.pool_id, ret_io);
	if (rc == 0) {
		rados_ioctx_set_namespace(*ret_io, parent.pool_namespace);
		rc = rbd_open_by_id_read_only(*ret_io, parent.image_id, ret_parent, NULL);
		if (rc == 0) {
			rc = rbd_snap_set_by_id(*ret_parent, snap.id);
			if (rc < 0)
				(void)rbd_close(*ret_parent);
		}
		if (rc < 0)
			rados_ioctx_destroy(*ret_io);
	}
	rbd_linked_image_spec_cleanup(&parent);
	rbd_snap_spec_cleanup(&snap);
	return rc == -ENOENT ? -EIO : rc;
}

static int has_prefix_in_trash(struct server *server, rbd_image_t image, uint64_t snap,
			       const char *prefix)
{
	char name[NAME_SIZE] = "";
	rados_ioctx_t io = NULL;
	rbd_image_t parent = NULL;
	int rc = parent_open(server, image, &io, &parent);

	if (rc < 0)
		return rc;
	rc = rbd_snap_get_trash_namespace(parent, snap, name, sizeof(name));
	(void)rbd_close(parent);
	rados_ioctx_destroy(io);
	return rc < 0 ? rc : g_str_has_prefix(name, prefix);
}

int parent_has_prefix(struct server *server, rbd_image_t image, const char *prefix)
{
	rbd_linked_image_spec_t parent;
	rbd_snap_spec_t snap;
	int rc = rbd_get_parent(image, &parent, &snap);

	if (rc < 0)
		return rc;
	if (snap.namespace_type == RBD_SNAP_NAMESPACE_TYPE_TRASH)
		rc = has_prefix_in_trash(server, image, snap.id, prefix);
	else
		rc = g_str_has_prefix(snap.name, prefix);
	rbd_linked_image_spec_cleanup(&parent);
	rbd_snap_spec_cleanup(&snap);
	return rc;
}
