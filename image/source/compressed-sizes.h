/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A list of the compressed sizes of clusters, two bytes each. The first ones, up to
 * image_compression.spill_bound bytes, are in memory, and the rest in an unlinked temporary file.
 */
#ifndef NOVASNAP_IMAGE_COMPRESSED_SIZES_H
#define NOVASNAP_IMAGE_COMPRESSED_SIZES_H

#include "image/source.h"

struct compressed_sizes;

/* Creates an empty list. At most `count` sizes may be appended. */
struct compressed_sizes *compressed_sizes_new(uint64_t count, const struct image_compression *how);
/* Accepts NULL. */
void compressed_sizes_free(struct compressed_sizes *sizes);

/* Returns 0, or -1 with G_FILE_ERROR. */
int compressed_sizes_append(struct compressed_sizes *sizes, uint16_t size, GError **error);

/* Returns the n-th size, counted from 0, which must have been appended. Reading in order is
 * fastest. Returns 0, or -1 with G_FILE_ERROR. */
int compressed_sizes_get(struct compressed_sizes *sizes, uint64_t n, uint16_t *ret_size,
			 GError **error);

#endif
