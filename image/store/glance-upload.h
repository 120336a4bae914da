/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Uploads the data of an image to Glance.
 */
#ifndef NOVASNAP_IMAGE_GLANCE_UPLOAD_H
#define NOVASNAP_IMAGE_GLANCE_UPLOAD_H

#include "image/image.h"

/*
 * The callback `upload` of struct image_store_ops; `self` is a struct glance_client. Sends PUT
 * /v2/images/ID/file. After an attempt that failed with IMAGE_ERROR_UNAVAILABLE the image is
 * checked: if it is `queued`, the next server is tried, at most num_retries times; if it is
 * `active`, it is verified and not sent again; if it is `saving`, the upload waits for up to
 * saving_timeout_s.
 */
int glance_image_upload(void *self, const struct image_identity *identity, const char *id,
			struct image_upload *upload, GError **error);

#endif
