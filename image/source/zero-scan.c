/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A source whose extents are finer than those of the one it reads: what holds nothing but zeros was
 * found by reading it all.
 */
#include "image/source/cluster-map.h"

struct scanned {
	struct image_source head;
	struct image_source *source;
	struct clusters *clusters;
};

static void clear_zeros(struct clusters *clusters, uint64_t from, const unsigned char *bytes,
			size_t length)
{
	for (size_t at = 0; at < length; at += CLUSTER) {
		if (is_all_zeros(bytes + at, MIN(CLUSTER, length - at)))
			clusters_clear(clusters, from + (at >> CLUSTER_BITS));
	}
}

static int scan(struct scanned *scanned, const atomic_int *cancel, GError **error)
{
	struct image_source *source = scanned->source;
	uint64_t count = clusters_count(scanned->clusters);
	g_autofree unsigned char *buffer = g_malloc(CLUSTERS_AT_ONCE * CLUSTER);
	uint64_t from = 0;

	while ((from = clusters_next_data(scanned->clusters, from)) < count) {
		uint64_t to = clusters_data_end(scanned->clusters, from, CLUSTERS_AT_ONCE);
		uint64_t offset = from << CLUSTER_BITS;
		size_t length = (size_t)(MIN(to << CLUSTER_BITS, source->size) - offset);

		if (cancel && atomic_load(cancel) != 0) {
			g_set_error_literal(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_CANCELLED,
					    "looking for zeros on the disk was cancelled");
			return -1;
		}
		if (source->ops->read(source, offset, buffer, length, error) < 0) {
			g_prefix_error(error, "looking for zeros on the disk: ");
			return -1;
		}
		clear_zeros(scanned->clusters, from, buffer, length);
		from = to;
	}
	clusters_recount(scanned->clusters);
	return 0;
}

static int scanned_read(struct image_source *source, uint64_t offset, void *buf, size_t len,
			GError **error)
{
	struct scanned *scanned = (struct scanned *)source;

	return scanned->source->ops->read(scanned->source, offset, buf, len, error);
}

static int scanned_extents(struct image_source *source, image_extent_fn each, void *opaque,
			   GError **error)
{
	const struct scanned *scanned = (struct scanned *)source;
	uint64_t count = clusters_count(scanned->clusters);

	(void)error;
	for (uint64_t from = 0; from < count;) {
		bool data = clusters_has_data(scanned->clusters, from);
		uint64_t to = data ? clusters_data_end(scanned->clusters, from, count)
				   : clusters_next_data(scanned->clusters, from);
		uint64_t offset = from << CLUSTER_BITS;

		each(offset, MIN(to << CLUSTER_BITS, source->size) - offset, data, opaque);
		from = to;
	}
	return 0;
}

static void scanned_free(struct image_source *source)
{
	struct scanned *scanned = (struct scanned *)source;

	clusters_free(scanned->clusters);
	image_source_free(scanned->source);
	g_free(scanned);
}

static const struct image_source_ops scanned_ops = {
	.read = scanned_read,
	.free = scanned_free,
	.extents = scanned_extents,
};

struct image_source *image_source_new_scanned(struct image_source *source, const atomic_int *cancel,
					      GError **error)
{
	struct scanned *scanned = g_new0(struct scanned, 1);

	scanned->head.ops = &scanned_ops;
	scanned->head.size = source->size;
	scanned->source = source;
	scanned->clusters = clusters_new(source, error);
	if (scanned->clusters && scan(scanned, cancel, error) == 0)
		return &scanned->head;
	scanned_free(&scanned->head);
	return NULL;
}
