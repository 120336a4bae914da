/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The location of each cluster in the data of a compressed qcow2 image.
 *
 * Terms: offsets count bytes from the start of the data, which follows the tables of the image.
 * Compressed clusters are stored without gaps, so several of them may share a cluster of the file.
 * An uncompressed cluster starts at a cluster boundary of the file; the gap before it is its
 * padding.
 */
#ifndef NOVASNAP_IMAGE_COMPRESSED_OFFSETS_H
#define NOVASNAP_IMAGE_COMPRESSED_OFFSETS_H

#include "image/source/cluster-map.h"

/* The bytes of one guest cluster. */
struct compressed_location {
	uint64_t index;	  /* the cluster's index in the cluster map */
	uint64_t padding; /* offset of its padding, which is empty if this equals `start` */
	uint64_t start;	  /* offset of its first byte */
	uint64_t end;	  /* offset after its last byte */
	uint16_t size;	  /* bytes, or CODEC_SIZE_UNCOMPRESSED */
};

/* A position in the sequence of locations. Other code may only copy it and read `index` and
 * `end`. */
struct compressed_cursor {
	uint64_t index; /* the next cluster with data is at this index or after it */
	uint64_t n;	/* number of clusters with data before it */
	uint64_t end;	/* offset after the previous location */
};

struct compressed_offsets;

/* Creates an empty list. The map must outlive it. */
struct compressed_offsets *compressed_offsets_new(const struct cluster_map *clusters,
						  const struct image_compression *how);
/* Accepts NULL. */
void compressed_offsets_free(struct compressed_offsets *offsets);

/* Appends a cluster with its compressed size. Clusters are appended in ascending order. Returns 0,
 * or -1 with G_FILE_ERROR. */
int compressed_offsets_append(struct compressed_offsets *offsets, uint64_t index, uint16_t size,
			      GError **error);

/* Returns the offset where the last location ends. */
uint64_t compressed_offsets_end(const struct compressed_offsets *offsets);

/*
 * The functions below look up clusters. Call them only after all clusters with data were appended,
 * and the others were marked with cluster_map_clear() and cluster_map_recount().
 */

/* Returns the cursor before the first location of a group, which must not come after the last group
 * with data. */
struct compressed_cursor compressed_offsets_group_cursor(const struct compressed_offsets *offsets,
							 uint64_t group);

/* Finds the cursor before the location that contains `offset` (or has it in its padding), or the
 * cursor after the last location. Returns 0, or -1 with G_FILE_ERROR. */
int compressed_offsets_seek(const struct compressed_offsets *offsets, uint64_t offset,
			    struct compressed_cursor *ret_cursor, GError **error);

/* Returns the location after the cursor and moves the cursor past it. Returns 1, 0 after the last
 * location, or -1 with G_FILE_ERROR. */
int compressed_offsets_next(const struct compressed_offsets *offsets,
			    struct compressed_cursor *cursor,
			    struct compressed_location *ret_location, GError **error);

#endif
