/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A source with finer extents than the source that it wraps: it reads all data once and finds the
 * clusters that contain only zeros.
 */
#include "image/cancel.h"
#include "image/source/cluster-map.h"
#include "image/source/zeros.h"

struct scanned_source {
	struct image_source head;
	struct image_source *source;
	struct cluster_map *clusters;
};

/* `bytes` are the contents of the clusters from `from` on. */
static void clear_zeros(struct cluster_map *clusters, uint64_t from, const unsigned char *bytes,
			size_t length)
{
	for (size_t at = 0; at < length; at += CLUSTER_SIZE) {
		if (image_is_zeros(bytes + at, MIN(CLUSTER_SIZE, length - at)))
			cluster_map_clear(clusters, from + (at >> CLUSTER_BITS));
	}
}

static int scan_clusters(struct scanned_source *scanned, const atomic_int *cancel, GError **error)
{
	struct image_source *source = scanned->source;
	uint64_t count = cluster_map_count(scanned->clusters);
	g_autofree unsigned char *buffer = g_malloc(CLUSTER_READ_MAX * CLUSTER_SIZE);
	uint64_t from = 0;

	while ((from = cluster_map_next_data(scanned->clusters, from)) < count) {
		uint64_t to = cluster_map_data_end(scanned->clusters, from, CLUSTER_READ_MAX);
		uint64_t offset = from << CLUSTER_BITS;
		size_t length = (size_t)(MIN(to << CLUSTER_BITS, source->size) - offset);

		if (image_cancel_check(cancel, "searching the disk for zeros", error) < 0)
			return -1;
		if (source->ops->read(source, offset, buffer, length, error) < 0) {
			g_prefix_error(error, "searching the disk for zeros: ");
			return -1;
		}
		clear_zeros(scanned->clusters, from, buffer, length);
		from = to;
	}
	cluster_map_recount(scanned->clusters);
	return 0;
}

static int scanned_read(struct image_source *source, uint64_t offset, void *buf, size_t len,
			GError **error)
{
	struct scanned_source *scanned = (struct scanned_source *)source;

	return scanned->source->ops->read(scanned->source, offset, buf, len, error);
}

static int scanned_extents(struct image_source *source, image_extent_fn each, void *opaque,
			   GError **error)
{
	const struct scanned_source *scanned = (struct scanned_source *)source;
	uint64_t count = cluster_map_count(scanned->clusters);

	(void)error;
	for (uint64_t from = 0; from < count;) {
		bool data = cluster_map_has_data(scanned->clusters, from);
		uint64_t to = data ? cluster_map_data_end(scanned->clusters, from, count)
				   : cluster_map_next_data(scanned->clusters, from);
		uint64_t offset = from << CLUSTER_BITS;

		each(offset, MIN(to << CLUSTER_BITS, source->size) - offset, data, opaque);
		from = to;
	}
	return 0;
}

static void scanned_free(struct image_source *source)
{
	struct scanned_source *scanned = (struct scanned_source *)source;

	cluster_map_free(scanned->clusters);
	image_source_free(scanned->source);
	g_free(scanned);
}

static const struct image_source_ops scanned_ops = {
	.read = scanned_read, .free = scanned_free, .extents = scanned_extents};

struct image_source *image_source_new_scanned(struct image_source *source, const atomic_int *cancel,
					      GError **error)
{
	struct scanned_source *scanned = g_new0(struct scanned_source, 1);

	scanned->head.ops = &scanned_ops;
	scanned->head.size = source->size;
	scanned->source = source;
	scanned->clusters = cluster_map_new(source, error);
	if (scanned->clusters && scan_clusters(scanned, cancel, error) == 0)
		return &scanned->head;
	scanned_free(&scanned->head);
	return NULL;
}
