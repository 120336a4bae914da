/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes the data of an image to a directory store.
 */
#ifndef NOVASNAP_IMAGE_DIRECTORY_UPLOAD_H
#define NOVASNAP_IMAGE_DIRECTORY_UPLOAD_H

#include "image/image.h"

/*
 * Implements image_store_upload(), in one attempt. `folder` is the path of the store. The file has
 * holes where the image has zeros. Returns 0, or -1 with IMAGE_ERROR_NOT_FOUND if there is no
 * record, IMAGE_ERROR_CONFLICT if the image is active or being written by another writer, or
 * another error.
 */
int directory_image_upload(const char *folder, const char *id, struct image_upload *upload,
			   GError **error);

#endif
