/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The choice of the encoder for a guest's disk.
 */
#ifndef NOVASNAP_AGENT_METHOD_IMAGE_ENCODE_H
#define NOVASNAP_AGENT_METHOD_IMAGE_ENCODE_H

#include <stdatomic.h>

#include "agent/config/config.h"
#include "image/source.h"

/* A source of the image, raw or qcow2, that is made of the disk, which it takes, also on failure. A
 * qcow2 is compressed where [libvirt]snapshot_compression is set. With compression, or where zeros
 * are searched for ([novasnap]detect_zeroes = scan), the whole disk is read at once, and again
 * while the image is read. `cancel` must outlive the source. NULL with an IMAGE_SOURCE_ERROR or an
 * error of the disk. */
struct image_source *image_encode(struct image_source *disk, const char *format,
				  const struct config *config, const atomic_int *cancel,
				  GError **error);

#endif
