/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chooses the encoder for a guest's disk.
 */
#ifndef NOVASNAP_AGENT_METHOD_IMAGE_ENCODE_H
#define NOVASNAP_AGENT_METHOD_IMAGE_ENCODE_H

#include <stdatomic.h>

#include "agent/config/config.h"
#include "image/source.h"

/* Creates a raw or qcow2 image from the disk; takes ownership of `disk`, also on failure. A qcow2
 * image is compressed if [libvirt]snapshot_compression is set. With compression, or if zeros are
 * searched for ([novasnap]detect_zeroes = scan), the whole disk is read immediately, and again
 * while the image is read. `cancel` must outlive the source. NULL with an IMAGE_SOURCE_ERROR or an
 * error of the disk. */
struct image_source *image_encode(struct image_source *disk, const char *format,
				  const struct config *config, const atomic_int *cancel,
				  GError **error);

#endif
