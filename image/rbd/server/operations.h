/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The operations on images and snapshots. Each is the function of image/rbd.h of the same name.
 */
#ifndef NOVASNAP_RBD_OPERATIONS_H
#define NOVASNAP_RBD_OPERATIONS_H

#include "image/rbd/server/server.h"

int operation_info(struct server *server, const cJSON *request, cJSON *answer, GError **error);
int operation_snap_create(struct server *server, const cJSON *request, cJSON *answer,
			  GError **error);
int operation_snap_protect(struct server *server, const cJSON *request, cJSON *answer,
			   GError **error);
int operation_snap_remove(struct server *server, const cJSON *request, cJSON *answer,
			  GError **error);
int operation_clone(struct server *server, const cJSON *request, cJSON *answer, GError **error);
int operation_flatten(struct server *server, const cJSON *request, cJSON *answer, GError **error);
int operation_remove_copy(struct server *server, const cJSON *request, cJSON *answer,
			  GError **error);

/* Returns 1 if the image has a parent, 0 if not, or a negative errno value. */
int image_has_parent(rbd_image_t image);

#endif
