/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Compresses single clusters as QEMU expects them: a raw deflate stream with a window of 4 KiB, or
 * one zstd frame. The result does not depend on the clusters compressed before. Only one thread may
 * use a codec at a time.
 */
#ifndef NOVASNAP_IMAGE_CODEC_H
#define NOVASNAP_IMAGE_CODEC_H

#include "image/source.h"

/* Compressed sizes fit into 16 bits. These two values have a special meaning. */
#define CODEC_SIZE_ZEROS 0		   /* the cluster is all zeros and is not stored */
#define CODEC_SIZE_UNCOMPRESSED UINT16_MAX /* the cluster does not get smaller */

struct codec;

/* Returns NULL with IMAGE_SOURCE_ERROR_FAILED if the library does not support the level. */
struct codec *codec_new(const struct image_compression *how, GError **error);
/* Accepts NULL. */
void codec_free(struct codec *codec);

/* Compresses the cluster `from` into `to`, a buffer of CLUSTER_SIZE bytes. Returns the size in
 * bytes, or CODEC_SIZE_UNCOMPRESSED; then `to` is undefined. */
uint16_t codec_compress(struct codec *codec, const unsigned char *from, unsigned char *to);

#endif
