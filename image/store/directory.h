/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The image store in a folder, for hosts without Glance ([novasnap]images = directory). An image is
 * the file ID; its record, in the format of Glance's v2 API, is the file ID.json. Each file is
 * written under a temporary name and renamed when it is complete.
 */
#ifndef NOVASNAP_IMAGE_DIRECTORY_H
#define NOVASNAP_IMAGE_DIRECTORY_H

#include "image/store/store-ops.h"

extern const struct image_store_ops directory_store_ops;

#endif
