/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A source with finer extents than the source that it wraps: it reads all data once and finds the
 * clusters that contain only zeros.
 */
#include "image/cancel.h"
#include "image/source/cluster-map.h"
#include "image/source/zeros.h"

#define BATCH_CLUSTERS 32

struct scanned_source {
	struct image_source head;
	struct image_source *source;
	struct cluster_map *clusters;
};

/* Clusters that are read at the same time. */
struct batch {
	struct image_read read;
	uint64_t indexes[BATCH_CLUSTERS];
	unsigned count;
	unsigned char bytes[BATCH_CLUSTERS * CLUSTER_SIZE];
};

/* Starts to read the next clusters with data from `*from` on, and moves `*from` past them. The
 * batch is empty after the last cluster. */
static int start_batch(const struct scanned_source *scanned, struct batch *batch, uint64_t *from,
		       GError **error)
{
	struct image_source *source = scanned->source;
	uint64_t end = cluster_map_count(scanned->clusters);

	batch->read = (struct image_read){0};
	batch->count = 0;
	while (batch->count < BATCH_CLUSTERS &&
	       (*from = cluster_map_next_data(scanned->clusters, *from)) < end) {
		uint64_t limit = MIN(BATCH_CLUSTERS - batch->count, CLUSTER_READ_MAX);
		uint64_t to = cluster_map_data_end(scanned->clusters, *from, limit);
		uint64_t offset = *from << CLUSTER_BITS;
		size_t length = (size_t)(MIN(to << CLUSTER_BITS, source->size) - offset);
		unsigned char *bytes = batch->bytes + batch->count * CLUSTER_SIZE;

		if (image_source_start(source, &batch->read, offset, bytes, length, error) < 0)
			return -1;
		while (*from < to)
			batch->indexes[batch->count++] = (*from)++;
	}
	return 0;
}

static void clear_zeros(struct scanned_source *scanned, const struct batch *batch)
{
	for (unsigned i = 0; i < batch->count; i++) {
		uint64_t offset = batch->indexes[i] << CLUSTER_BITS;

		if (image_is_zeros(batch->bytes + i * CLUSTER_SIZE,
				   MIN(CLUSTER_SIZE, scanned->source->size - offset)))
			cluster_map_clear(scanned->clusters, batch->indexes[i]);
	}
}

/* Each batch is searched while the next one is read. */
static int scan_batches(struct scanned_source *scanned, struct batch *now, struct batch *next,
			const atomic_int *cancel, GError **error)
{
	uint64_t from = 0;

	if (start_batch(scanned, now, &from, error) < 0)
		return -1;
	while (now->count > 0) {
		struct batch *searched = now;

		if (image_cancel_check(cancel, "searching the disk for zeros", error) < 0 ||
		    start_batch(scanned, next, &from, error) < 0 ||
		    image_source_finish(scanned->source, &now->read, error) < 0)
			return -1;
		clear_zeros(scanned, now);
		now = next;
		next = searched;
	}
	return 0;
}

static int scan_clusters(struct scanned_source *scanned, const atomic_int *cancel, GError **error)
{
	struct batch *batches = g_new(struct batch, 2);
	int rc;

	batches[1].read = (struct image_read){0};
	rc = scan_batches(scanned, &batches[0], &batches[1], cancel, error);
	for (unsigned i = 0; rc < 0 && i < 2; i++)
		(void)image_source_finish(scanned->source, &batches[i].read, NULL);
	g_free(batches);
	if (rc < 0 && !g_error_matches(error ? *error : NULL, IMAGE_SOURCE_ERROR,
				       IMAGE_SOURCE_ERROR_CANCELLED))
		g_prefix_error(error, "searching the disk for zeros: ");
	cluster_map_recount(scanned->clusters);
	return rc;
}

static int scanned_start(struct image_source *source, struct image_read *read, uint64_t offset,
			 void *buf, size_t len, GError **error)
{
	return image_source_start(((struct scanned_source *)source)->source, read, offset, buf, len,
				  error);
}

static int scanned_finish(struct image_source *source, struct image_read *read, GError **error)
{
	return image_source_finish(((struct scanned_source *)source)->source, read, error);
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
	.read = image_source_start_and_finish,
	.start = scanned_start,
	.finish = scanned_finish,
	.free = scanned_free,
	.extents = scanned_extents,
};

struct image_source *image_source_new_scanned(struct image_source *source, const atomic_int *cancel,
					      GError **error)
{
	struct scanned_source *scanned = g_new0(struct scanned_source, 1);

	scanned->head.ops = &scanned_ops;
	scanned->head.size = source->size;
	scanned->head.read_ahead_mib = source->read_ahead_mib;
	scanned->source = source;
	scanned->clusters = cluster_map_new(source, error);
	if (scanned->clusters && scan_clusters(scanned, cancel, error) == 0)
		return &scanned->head;
	scanned_free(&scanned->head);
	return NULL;
}
