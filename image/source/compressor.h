/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Compresses the clusters of a source that contain data, and returns them in the guest's order. The
 * caller's thread reads the source, and several threads compress. There are buffers for 64 clusters
 * ahead of the caller.
 */
#ifndef NOVASNAP_IMAGE_COMPRESSOR_H
#define NOVASNAP_IMAGE_COMPRESSOR_H

#include "image/source/cluster-map.h"

struct compressor;

/* Starts the threads. Source, map and cancel flag must outlive the compressor, which starts at
 * cluster 0. Returns NULL with IMAGE_SOURCE_ERROR_FAILED. */
struct compressor *compressor_new(struct image_source *source, const struct cluster_map *clusters,
				  const struct image_compression *how, GError **error);
/* Stops the threads. Accepts NULL. */
void compressor_free(struct compressor *compressor);

/* Discards clusters compressed in advance, and continues at the first cluster with data at or after
 * `index`. */
void compressor_seek(struct compressor *compressor, uint64_t index);

struct compressed_cluster {
	uint64_t index;
	uint16_t size; /* bytes, or CODEC_SIZE_ZEROS or CODEC_SIZE_UNCOMPRESSED */
	/* Valid until the next call; all CLUSTER_SIZE bytes of an uncompressed cluster. */
	const unsigned char *bytes;
};

/* Returns the next cluster. Returns 1, 0 after the last cluster, or -1 with the error of the source
 * or IMAGE_SOURCE_ERROR_CANCELLED. After an error, compressor_seek() makes the compressor usable
 * again. */
int compressor_next(struct compressor *compressor, struct compressed_cluster *ret_compressed,
		    GError **error);

#endif
