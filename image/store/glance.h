/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The image store in a Glance service, with its v2 API (nova.image.glance and
 * glanceclient.v2.images).
 */
#ifndef NOVASNAP_IMAGE_GLANCE_H
#define NOVASNAP_IMAGE_GLANCE_H

#include "image/store/store-ops.h"

extern const struct image_store_ops glance_store_ops;

#endif
