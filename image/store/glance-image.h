/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The records of images in Glance. `self` is a struct glance_client; each function is a callback of
 * struct image_store_ops.
 */
#ifndef NOVASNAP_IMAGE_GLANCE_IMAGE_H
#define NOVASNAP_IMAGE_GLANCE_IMAGE_H

#include "image/image.h"

#define GLANCE_PATCH_CONTENT_TYPE "application/openstack-images-v2.1-json-patch"

/* GET /v2/images/ID. */
int glance_image_get(void *self, const struct image_identity *identity, const char *id,
		     struct image_record **ret_record, GError **error);
/* PATCH /v2/images/ID with the values that differ from the current record, as
 * glanceclient.v2.images.Controller.update does. Sends no PATCH if there is no difference. */
int glance_image_update(void *self, const struct image_identity *identity, const char *id,
			const struct image_meta *meta, GError **error);
/* DELETE /v2/images/ID. */
int glance_image_delete(void *self, const struct image_identity *identity, const char *id,
			GError **error);
/* POST /v2/images. */
char *glance_image_create(void *self, const struct image_identity *identity, const char *name,
			  GError **error);

#endif
