/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Explains why Glance has refused an upload.
 */
#ifndef NOVASNAP_IMAGE_GLANCE_REFUSAL_H
#define NOVASNAP_IMAGE_GLANCE_REFUSAL_H

#include "image/store/glance-client.h"

/*
 * Replaces the error of a refused upload of the image `id` by one that says more, where the image's
 * record shows more: IMAGE_ERROR_CONFLICT by IMAGE_ERROR_GONE if the image does not exist, and
 * IMAGE_ERROR_FORMAT by the same code with what to do about it. Leaves other errors unchanged.
 */
void glance_refusal_explain(struct glance_client *client, const struct image_identity *identity,
			    const char *id, GError **error);

#endif
