/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The encoder of compressed qcow2 images. It compresses all clusters once to learn their sizes,
 * which determine their locations in the file, and again when the image is read.
 */
#include <string.h>

#include "image/source/codec.h"
#include "image/source/compressed-offsets.h"
#include "image/source/compressor.h"
#include "image/source/qcow2-tables.h"

/* The L2 entry of a compressed cluster: this flag, the number of sectors after the first, and the
 * offset in the file. */
#define L2_COMPRESSED ((uint64_t)1 << 62)
#define L2_SECTORS_SHIFT (62 - (CLUSTER_BITS - 8))
#define SECTOR_BITS 9

struct compressed_encoder {
	struct image_source head;
	struct image_source *source;
	struct cluster_map *clusters;
	struct compressor *compressor;
	struct compressed_offsets *offsets;
	struct qcow2_tables *tables;

	/* The cluster being read. */
	struct compressed_location here;
	const unsigned char *bytes;	 /* its contents; NULL: no cluster yet */
	struct compressed_cursor cursor; /* the position after it */
};

static uint64_t l2_entry(const struct compressed_encoder *encoder,
			 const struct compressed_location *location)
{
	uint64_t data = qcow2_tables_data_offset(encoder->tables);
	uint64_t start = data + location->start, last = data + location->end - 1;
	uint64_t more_sectors = (last >> SECTOR_BITS) - (start >> SECTOR_BITS);

	if (location->size == CODEC_SIZE_UNCOMPRESSED)
		return start | QCOW2_COPIED;
	return L2_COMPRESSED | more_sectors << L2_SECTORS_SHIFT | start;
}

static int compressed_fill_l2_table(void *opaque, uint64_t group, unsigned char *to, GError **error)
{
	const struct compressed_encoder *encoder = opaque;
	struct compressed_cursor cursor = compressed_offsets_group_cursor(encoder->offsets, group);
	struct compressed_location location;
	int rc;

	while ((rc = compressed_offsets_next(encoder->offsets, &cursor, &location, error)) > 0) {
		if (location.index >= (group + 1) * CLUSTER_GROUP_SIZE)
			return 0;
		qcow2_put64(to + location.index % CLUSTER_GROUP_SIZE * 8,
			    l2_entry(encoder, &location));
	}
	return rc;
}

/* The refcount of a cluster of the file is the number of guest clusters that have bytes in it. QEMU
 * counts by sectors, but a sector never crosses a cluster boundary, so the counts are equal. */
static int compressed_fill_refcounts(void *opaque, uint64_t first, uint64_t count,
				     unsigned char *to, GError **error)
{
	const struct compressed_encoder *encoder = opaque;
	g_autofree uint16_t *counts = g_new0(uint16_t, count);
	struct compressed_location location;
	struct compressed_cursor cursor;
	int rc;

	if (compressed_offsets_seek(encoder->offsets, first << CLUSTER_BITS, &cursor, error) < 0)
		return -1;
	while ((rc = compressed_offsets_next(encoder->offsets, &cursor, &location, error)) > 0) {
		uint64_t from = MAX(location.start >> CLUSTER_BITS, first);
		uint64_t last = MIN((location.end - 1) >> CLUSTER_BITS, first + count - 1);

		if (from >= first + count)
			break;
		for (uint64_t i = from; i <= last; i++)
			counts[i - first]++;
	}
	for (uint64_t i = 0; i < count; i++)
		qcow2_put16(to + i * 2, counts[i]);
	return MIN(rc, 0);
}

static int set_changed_error(const struct compressed_location *expected,
			     const struct compressed_cluster *found, GError **error)
{
	g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED,
		    "the cluster at byte %" G_GUINT64_FORMAT
		    " of the disk was compressed to %u bytes at first, and to %u now: the disk "
		    "changed while it was read",
		    expected->index << CLUSTER_BITS, expected->size, found->size);
	return -1;
}

/* The last location is followed by the padding of the last cluster of the file. */
static void set_final_padding(struct compressed_encoder *encoder)
{
	encoder->here = (struct compressed_location){
		.padding = encoder->cursor.end, .start = UINT64_MAX, .end = UINT64_MAX};
	encoder->bytes = (const unsigned char *)"";
}

/* Moves `here` to the location after the cursor. */
static int read_next_cluster(struct compressed_encoder *encoder, GError **error)
{
	struct compressed_cluster found;
	struct compressed_location next;
	int rc = compressed_offsets_next(encoder->offsets, &encoder->cursor, &next, error);

	encoder->bytes = NULL;
	if (rc < 0)
		return -1;
	if (rc == 0) {
		set_final_padding(encoder);
		return 0;
	}
	rc = compressor_next(encoder->compressor, &found, error);
	if (rc < 0)
		return -1;
	g_assert(rc > 0 && found.index == next.index);
	if (found.size != next.size)
		return set_changed_error(&next, &found, error);
	encoder->here = next;
	encoder->bytes = found.bytes;
	return 0;
}

/* Moves `here` to the location that contains `offset`. If the image is read in order, that is the
 * current or the next one. */
static int move_to_offset(struct compressed_encoder *encoder, uint64_t offset, GError **error)
{
	if (encoder->bytes && offset >= encoder->here.padding && offset < encoder->here.end)
		return 0;
	if (!encoder->bytes || offset != encoder->here.end) {
		encoder->bytes = NULL;
		if (compressed_offsets_seek(encoder->offsets, offset, &encoder->cursor, error) < 0)
			return -1;
		compressor_seek(encoder->compressor, encoder->cursor.index);
	}
	return read_next_cluster(encoder, error);
}

static int compressed_read_data(void *opaque, struct image_read *read, uint64_t offset,
				unsigned char *to, size_t len, size_t *ret_length, GError **error)
{
	struct compressed_encoder *encoder = opaque;
	const struct compressed_location *here = &encoder->here;

	(void)read;
	if (move_to_offset(encoder, offset, error) < 0)
		return -1;
	if (offset < here->start) {
		*ret_length = (size_t)MIN((uint64_t)len, here->start - offset);
		memset(to, 0, *ret_length);
	} else {
		*ret_length = (size_t)MIN((uint64_t)len, here->end - offset);
		memcpy(to, encoder->bytes + (offset - here->start), *ret_length);
	}
	return 0;
}

static int compressed_read(struct image_source *source, uint64_t offset, void *buf, size_t len,
			   GError **error)
{
	return qcow2_tables_read(((struct compressed_encoder *)source)->tables, NULL, offset, buf,
				 len, error);
}

/* Compresses all clusters to learn their sizes. Clusters of zeros are removed from the map. */
static int measure_clusters(struct compressed_encoder *encoder, GError **error)
{
	struct compressed_cluster cluster;
	int rc;

	while ((rc = compressor_next(encoder->compressor, &cluster, error)) > 0) {
		if (cluster.size == CODEC_SIZE_ZEROS)
			cluster_map_clear(encoder->clusters, cluster.index);
		else if (compressed_offsets_append(encoder->offsets, cluster.index, cluster.size,
						   error) < 0)
			return -1;
	}
	cluster_map_recount(encoder->clusters);
	return rc;
}

static int prepare_encoder(struct compressed_encoder *encoder, const struct image_compression *how,
			   GError **error)
{
	encoder->clusters = cluster_map_new(encoder->source, error);
	if (!encoder->clusters)
		return -1;
	encoder->offsets = compressed_offsets_new(encoder->clusters, how);
	encoder->compressor = compressor_new(encoder->source, encoder->clusters, how, error);
	return encoder->compressor ? measure_clusters(encoder, error) : -1;
}

static void compressed_free(struct image_source *source)
{
	struct compressed_encoder *encoder = (struct compressed_encoder *)source;

	compressor_free(encoder->compressor);
	qcow2_tables_free(encoder->tables);
	compressed_offsets_free(encoder->offsets);
	cluster_map_free(encoder->clusters);
	image_source_free(encoder->source);
	g_free(encoder);
}

static const struct image_source_ops compressed_ops = {.read = compressed_read,
						       .free = compressed_free};

struct image_source *image_source_new_qcow2_compressed(struct image_source *source,
						       const struct image_compression *how,
						       GError **error)
{
	struct compressed_encoder *encoder = g_new0(struct compressed_encoder, 1);
	struct qcow2_layout layout = {
		.disk_size = source->size,
		.zstd = how->zstd,
		.fill_l2_table = compressed_fill_l2_table,
		.fill_refcounts = compressed_fill_refcounts,
		.read_data = compressed_read_data,
		.opaque = encoder,
	};

	encoder->head.ops = &compressed_ops;
	encoder->source = source;
	if (prepare_encoder(encoder, how, error) < 0) {
		compressed_free(&encoder->head);
		return NULL;
	}
	layout.clusters = encoder->clusters;
	layout.data_clusters =
		(compressed_offsets_end(encoder->offsets) + CLUSTER_SIZE - 1) >> CLUSTER_BITS;
	encoder->tables = qcow2_tables_new(&layout);
	encoder->head.size = qcow2_tables_file_size(encoder->tables);
	return &encoder->head;
}
