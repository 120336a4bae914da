/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest's disk as an image source that fails once its data no longer belongs to a single point in
 * time.
 */
#ifndef NOVASNAP_VIRT_METHOD_WATCHED_DISK_H
#define NOVASNAP_VIRT_METHOD_WATCHED_DISK_H

#include "image/source.h"
#include "virt/method/method.h"

/* Takes ownership of `disk`. After each read the method's `verify` is called; its error explains a
 * failure better than the disk's own. If the disk is gone for an unknown reason, the error is
 * VIRT_ERROR_INSTANT_LOST. */
struct image_source *watched_disk_new(struct snapshot *snapshot, struct image_source *disk);

#endif
