/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parts of the encoder of compressed qcow2 images: the codec of one cluster, the threads that
 * use it, and what is remembered of each cluster.
 */
#ifndef NOVASNAP_IMAGE_COMPRESSED_H
#define NOVASNAP_IMAGE_COMPRESSED_H

#include "image/source/cluster-map.h"

/* The compressed size of a cluster, in 16 bits: a codec never makes one so large. */
#define SIZE_OF_ZEROS 0
#define SIZE_PLAIN UINT16_MAX

/* --- codec.c ---------------------------------------------------------------------------------- */

/* One thread's. NULL with IMAGE_SOURCE_ERROR_FAILED when there is no such level. */
struct codec;
struct codec *codec_new(const struct image_compression *how, GError **error);
void codec_free(struct codec *codec);
/* A cluster into a buffer of a cluster. Gives its size, SIZE_PLAIN when it does not get smaller. */
uint16_t codec_compress(struct codec *codec, const unsigned char *from, unsigned char *to);

/* --- compressor.c ----------------------------------------------------------------------------- */

/* The clusters of a source that have data, in their order. Its threads work ahead, in 4 MiB of
 * buffers; the source is read by the caller's thread alone. */
struct compressor;
struct compressor *compressor_new(struct image_source *source, const struct clusters *clusters,
				  const struct image_compression *how, GError **error);
void compressor_free(struct compressor *compressor);
/* That cluster is the next; drops what was done ahead. */
void compressor_seek(struct compressor *compressor, uint64_t index);

struct compressed {
	uint64_t index;
	uint16_t size;
	const unsigned char *bytes; /* up to the next call */
};
/* 1, or 0 when there are no more, or -1. */
int compressor_next(struct compressor *compressor, struct compressed *ret_compressed,
		    GError **error);

/* --- sizes.c ---------------------------------------------------------------------------------- */

/* The sizes of all clusters that have data: up to a bound in memory, the rest in a file that has
 * no name. */
struct sizes;
/* No more than `count` will be appended. */
struct sizes *sizes_new(uint64_t count, const struct image_compression *how);
void sizes_free(struct sizes *sizes);
int sizes_append(struct sizes *sizes, uint16_t size, GError **error);
/* Of what was appended, fastest in order. */
int sizes_get(struct sizes *sizes, uint64_t n, uint16_t *ret_size, GError **error);

/* --- places.c --------------------------------------------------------------------------------- */

/* Where a cluster is in the data, in bytes; what is before it was skipped for its alignment. */
struct place {
	uint64_t index;
	uint64_t start;
	uint64_t from;
	uint64_t end;
	uint16_t size;
};

/* Goes from place to place, in the guest's order. */
struct walk {
	uint64_t index; /* the next cluster, or a later one */
	uint64_t n;	/* how many with data were before it */
	uint64_t at;
};

/* Where each cluster with data is. They are added in order; what is asked was added before, and the
 * map tells no others. */
struct places;
struct places *places_new(const struct clusters *clusters, const struct image_compression *how);
void places_free(struct places *places);
int places_add(struct places *places, uint64_t index, uint16_t size, GError **error);
/* Where the last of them ends. */
uint64_t places_end(const struct places *places);
struct walk places_of_group(const struct places *places, uint64_t group);
/* The walk whose next place is the one that an offset in the data is in, or is skipped before. */
int places_find(const struct places *places, uint64_t offset, struct walk *ret_walk,
		GError **error);
/* 1, or 0 when there are no more, or -1. */
int places_next(const struct places *places, struct walk *walk, struct place *ret_place,
		GError **error);

#endif
