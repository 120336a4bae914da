/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The location of an image in Ceph, as Glance and nova write it:
 * "rbd://FSID/POOL/IMAGE/SNAPSHOT", percent-encoded.
 */
#ifndef NOVASNAP_VIRT_RBD_LOCATION_H
#define NOVASNAP_VIRT_RBD_LOCATION_H

#include <glib.h>
#include <stdbool.h>

struct rbd_location {
	char *fsid;
	char *pool;
	char *image;
	char *snap;
};

/* Whether `url` is a location of that kind (nova.storage.rbd_utils.RBDDriver.parse_url). The caller
 * clears *ret_location, also if it is none. */
bool rbd_location_parse(const char *url, struct rbd_location *ret_location);
void rbd_location_clear(struct rbd_location *location);

/* The caller frees it. */
char *rbd_location_format(const char *fsid, const char *pool, const char *image, const char *snap);

#endif
