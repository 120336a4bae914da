/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The locations of images in Glance. `self` is a struct glance_client; each function is a callback
 * of struct image_store_ops.
 */
#ifndef NOVASNAP_IMAGE_GLANCE_LOCATION_H
#define NOVASNAP_IMAGE_GLANCE_LOCATION_H

#include "image/image.h"

/* POST /v2/images/ID/locations, or PATCH /v2/images/ID. */
enum image_location_result glance_location_add(void *self, const struct image_identity *identity,
					       const char *id, const char *url,
					       const atomic_int *cancel, GError **error);
/* GET /v2/images/ID and, if that shows no location, GET /v2/images/ID/locations. */
enum image_location_answer glance_location_ask(void *self, const struct image_identity *identity,
					       const char *id, const char *url, GError **error);

#endif
