/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest's disk as an image source that fails once what it reads is not of one instant any more.
 */
#ifndef NOVASNAP_VIRT_METHOD_WATCHED_DISK_H
#define NOVASNAP_VIRT_METHOD_WATCHED_DISK_H

#include "image/source.h"
#include "virt/method/method.h"

/* Takes the disk. Each read is followed by the method's `verify`, whose error explains a failure
 * better than the disk's own. Where the disk is gone for an unknown reason, the error is
 * VIRT_ERROR_INSTANT_LOST. */
struct image_source *watched_disk_new(struct snapshot *snapshot, struct image_source *disk);

#endif
