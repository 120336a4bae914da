/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The connection to a cluster, its pools and images.
 */
#ifndef NOVASNAP_RBD_CLUSTER_H
#define NOVASNAP_RBD_CLUSTER_H

#include "image/rbd/server/server.h"

/* The operation "connect". */
int cluster_connect(struct server *server, const cJSON *request, cJSON *answer, GError **error);
void cluster_disconnect(struct server *server);

/* An image that a request names. */
struct cluster_image {
	rados_ioctx_t io;
	rbd_image_t image;
	const char *pool, *name;
	const char *snap; /* NULL: the request has none */
	char *title;	  /* for messages: "the image vms/a" or "the snapshot vms/a@b" */
};

enum cluster_open {
	CLUSTER_OPEN_READ,    /* at the snapshot, if the request has one */
	CLUSTER_OPEN_CHANGE,  /* the image itself */
	CLUSTER_OPEN_NOTHING, /* only its pool */
};
/*
 * Opens what a request names. The caller closes *ret_image, also after an error. Returns 0; -1 with
 * an error; with IMAGE_RBD_ERROR_NOT_FOUND if the pool, the image or the snapshot does not exist.
 */
int cluster_image_open(struct server *server, const cJSON *request, enum cluster_open how,
		       struct cluster_image *ret_image, GError **error);
/* Opens another pool. */
int cluster_pool_open(struct server *server, const char *pool, rados_ioctx_t *ret_io,
		      GError **error);
void cluster_image_close(struct cluster_image *image);

#endif
