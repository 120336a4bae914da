/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The locations of compressed clusters. Only the size of each cluster and the offset of each group
 * are stored; locations within a group are computed by adding up the sizes.
 */
#include "image/source/compressed-offsets.h"

#include "image/source/codec.h"
#include "image/source/compressed-sizes.h"

struct compressed_offsets {
	const struct cluster_map *clusters;
	struct compressed_sizes *sizes;
	uint64_t *group_starts; /* the offset of each group so far */
	uint64_t group_count;	/* number of groups so far */
	uint64_t end;
};

struct compressed_offsets *compressed_offsets_new(const struct cluster_map *clusters,
						  const struct image_compression *how)
{
	struct compressed_offsets *offsets = g_new0(struct compressed_offsets, 1);

	offsets->clusters = clusters;
	offsets->sizes = compressed_sizes_new(cluster_map_data_count(clusters), how);
	offsets->group_starts = g_new0(uint64_t, cluster_map_group_count(clusters) + 1);
	return offsets;
}

void compressed_offsets_free(struct compressed_offsets *offsets)
{
	if (!offsets)
		return;
	compressed_sizes_free(offsets->sizes);
	g_free(offsets->group_starts);
	g_free(offsets);
}

/* Returns the location of a cluster whose predecessor ends at `offset`. */
static struct compressed_location make_location(uint64_t offset, uint64_t index, uint16_t size)
{
	struct compressed_location location = {
		.index = index, .padding = offset, .start = offset, .size = size};

	if (size == CODEC_SIZE_UNCOMPRESSED) {
		location.start = (offset + CLUSTER_SIZE - 1) & ~(CLUSTER_SIZE - 1);
		location.end = location.start + CLUSTER_SIZE;
	} else {
		location.end = offset + size;
	}
	return location;
}

int compressed_offsets_append(struct compressed_offsets *offsets, uint64_t index, uint16_t size,
			      GError **error)
{
	while (offsets->group_count <= index / CLUSTER_GROUP_SIZE)
		offsets->group_starts[offsets->group_count++] = offsets->end;
	offsets->end = make_location(offsets->end, index, size).end;
	return compressed_sizes_append(offsets->sizes, size, error);
}

uint64_t compressed_offsets_end(const struct compressed_offsets *offsets)
{
	return offsets->end;
}

struct compressed_cursor compressed_offsets_group_cursor(const struct compressed_offsets *offsets,
							 uint64_t group)
{
	return (struct compressed_cursor){
		.index = group * CLUSTER_GROUP_SIZE,
		.n = cluster_map_data_before_group(offsets->clusters, group),
		.end = offsets->group_starts[group],
	};
}

int compressed_offsets_next(const struct compressed_offsets *offsets,
			    struct compressed_cursor *cursor,
			    struct compressed_location *ret_location, GError **error)
{
	uint64_t index = cluster_map_next_data(offsets->clusters, cursor->index);
	uint16_t size;

	if (index >= cluster_map_count(offsets->clusters))
		return 0;
	if (compressed_sizes_get(offsets->sizes, cursor->n, &size, error) < 0)
		return -1;
	*ret_location = make_location(cursor->end, index, size);
	cursor->index = index + 1;
	cursor->n++;
	cursor->end = ret_location->end;
	return 1;
}

int compressed_offsets_seek(const struct compressed_offsets *offsets, uint64_t offset,
			    struct compressed_cursor *ret_cursor, GError **error)
{
	uint64_t group = cluster_group_search(offsets->group_starts, offsets->group_count, offset);
	struct compressed_cursor next = compressed_offsets_group_cursor(offsets, group);
	struct compressed_location location;
	int rc;

	do {
		*ret_cursor = next;
		rc = compressed_offsets_next(offsets, &next, &location, error);
	} while (rc > 0 && location.end <= offset);
	return MIN(rc, 0);
}
