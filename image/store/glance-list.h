/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lists images in Glance.
 */
#ifndef NOVASNAP_IMAGE_GLANCE_LIST_H
#define NOVASNAP_IMAGE_GLANCE_LIST_H

#include "image/image.h"

/*
 * The callback `list` of struct image_store_ops; `self` is a struct glance_client. Sends GET
 * /v2/images and follows the link `next`, for at most GLANCE_LIST_PAGES_MAX pages with a total of
 * GLANCE_LIST_SIZE_MAX bytes.
 */
int glance_image_list(void *self, const struct image_identity *identity,
		      const struct image_property *wanted, GPtrArray *records, GError **error);

#endif
