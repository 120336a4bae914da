/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Parses the records of images that image.h describes.
 */
#ifndef NOVASNAP_IMAGE_RECORD_H
#define NOVASNAP_IMAGE_RECORD_H

#include "image/image.h"

/*
 * Creates a record from a JSON document in the format of Glance's v2 API. Takes ownership of
 * `document`, also when it fails; NULL is not a record. The caller frees the record with
 * image_record_free(). Returns NULL with IMAGE_ERROR_FAILED if `id` or `status` is missing. An
 * invalid size is stored as unknown (-1).
 */
struct image_record *image_record_parse(cJSON *document, GError **error);

#endif
