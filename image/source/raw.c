/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The encoder of raw images: passes data through, and does not read clusters of zeros.
 */
#include <string.h>

#include "image/source/cluster-map.h"

struct raw_encoder {
	struct image_source head;
	struct image_source *source;
	struct cluster_map *clusters;
};

/* Returns how many bytes from `offset` on, at most `len`, are in clusters of the same kind: all
 * with data, or all without. */
static size_t uniform_length(const struct raw_encoder *raw, uint64_t offset, size_t len)
{
	uint64_t index = offset >> CLUSTER_BITS;
	bool data = cluster_map_has_data(raw->clusters, index);
	uint64_t end = (index + 1) << CLUSTER_BITS;

	while (end < offset + len &&
	       cluster_map_has_data(raw->clusters, end >> CLUSTER_BITS) == data)
		end += CLUSTER_SIZE;
	return (size_t)MIN(end - offset, (uint64_t)len);
}

static int raw_start(struct image_source *source, struct image_read *read, uint64_t offset,
		     void *buf, size_t len, GError **error)
{
	struct raw_encoder *raw = (struct raw_encoder *)source;
	char *to = buf;

	while (len > 0) {
		size_t length = uniform_length(raw, offset, len);

		if (!cluster_map_has_data(raw->clusters, offset >> CLUSTER_BITS))
			memset(to, 0, length);
		else if (image_source_start(raw->source, read, offset, to, length, error) < 0)
			return -1;
		to += length;
		offset += length;
		len -= length;
	}
	return 0;
}

static int raw_finish(struct image_source *source, struct image_read *read, GError **error)
{
	return image_source_finish(((struct raw_encoder *)source)->source, read, error);
}

static void raw_free(struct image_source *source)
{
	struct raw_encoder *raw = (struct raw_encoder *)source;

	cluster_map_free(raw->clusters);
	image_source_free(raw->source);
	g_free(raw);
}

static const struct image_source_ops raw_ops = {
	.read = image_source_start_and_finish,
	.start = raw_start,
	.finish = raw_finish,
	.free = raw_free,
};

struct image_source *image_source_new_raw(struct image_source *source, GError **error)
{
	struct raw_encoder *raw = g_new0(struct raw_encoder, 1);

	raw->head.ops = &raw_ops;
	raw->head.size = source->size;
	raw->head.read_ahead_mib = source->read_ahead_mib;
	raw->source = source;
	raw->clusters = cluster_map_new(source, error);
	if (raw->clusters)
		return &raw->head;
	raw_free(&raw->head);
	return NULL;
}
