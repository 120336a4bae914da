/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The encoder of compressed qcow2 images. All clusters are compressed once to learn their sizes,
 * which say where each of them will be, and again when the image is read.
 *
 * Compressed clusters lie one after the other, byte by byte, and so share clusters of the file;
 * one that is stored plainly begins at the next whole cluster.
 */
#include <string.h>

#include "image/source/compressed.h"
#include "image/source/qcow2-tables.h"

#define COMPRESSED ((uint64_t)1 << 62)
#define SECTOR_BITS 9
/* Where an L2 entry has the number of sectors that follow the first. */
#define SECTORS_SHIFT (62 - (CLUSTER_BITS - 8))

struct encoder {
	struct image_source head;
	struct image_source *source;
	struct clusters *clusters;
	struct compressor *compressor;
	struct places *places;
	struct qcow2_tables *tables;

	/* What is being read. */
	struct walk walk;
	struct place here;
	const unsigned char *bytes; /* of `here`; NULL: none is */
};

static uint64_t entry_of(const struct encoder *encoder, const struct place *place)
{
	uint64_t data = qcow2_tables_size(encoder->tables);
	uint64_t from = data + place->from, last = data + place->end - 1;

	if (place->size == SIZE_PLAIN)
		return from | QCOW2_COPIED;
	return COMPRESSED | ((last >> SECTOR_BITS) - (from >> SECTOR_BITS)) << SECTORS_SHIFT | from;
}

static int make_l2(void *opaque, uint64_t group, unsigned char *to, GError **error)
{
	const struct encoder *encoder = opaque;
	struct walk walk = places_of_group(encoder->places, group);
	struct place place;
	int rc;

	while ((rc = places_next(encoder->places, &walk, &place, error)) > 0) {
		if (place.index >= (group + 1) * GROUP)
			return 0;
		put64(to + place.index % GROUP * 8, entry_of(encoder, &place));
	}
	return rc;
}

/* Whoever touches a cluster of the file refers to it. A sector is never in two of them, so that
 * counting sectors, as QEMU does, is counting bytes. */
static int make_refcounts(void *opaque, uint64_t first, uint64_t count, unsigned char *to,
			  GError **error)
{
	const struct encoder *encoder = opaque;
	g_autofree uint16_t *counts = g_new0(uint16_t, count);
	struct place place;
	struct walk walk;
	int rc;

	if (places_find(encoder->places, first << CLUSTER_BITS, &walk, error) < 0)
		return -1;
	while ((rc = places_next(encoder->places, &walk, &place, error)) > 0) {
		uint64_t from = MAX(place.from >> CLUSTER_BITS, first);
		uint64_t last = MIN((place.end - 1) >> CLUSTER_BITS, first + count - 1);

		if (from >= first + count)
			break;
		for (uint64_t i = from; i <= last; i++)
			counts[i - first]++;
	}
	for (uint64_t i = 0; i < count; i++)
		put16(to + i * 2, counts[i]);
	return MIN(rc, 0);
}

static int changed(const struct place *was, const struct compressed *is, GError **error)
{
	g_set_error(
		error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED,
		"the cluster at byte %" G_GUINT64_FORMAT
		" of the disk was compressed to %u bytes, and now it is to %u: the disk changes "
		"while it is read",
		was->index << CLUSTER_BITS, was->size, is->size);
	return -1;
}

/* From `here` to the place after it. Past the last one `here` has no end. */
static int read_next(struct encoder *encoder, GError **error)
{
	struct compressed compressed;
	struct place next;
	int rc = places_next(encoder->places, &encoder->walk, &next, error);

	encoder->bytes = NULL;
	if (rc < 0)
		return -1;
	if (rc == 0) {
		encoder->here = (struct place){
			.start = encoder->walk.at, .from = UINT64_MAX, .end = UINT64_MAX};
		encoder->bytes = (const unsigned char *)"";
		return 0;
	}
	rc = compressor_next(encoder->compressor, &compressed, error);
	if (rc < 0)
		return -1;
	g_assert(rc > 0 && compressed.index == next.index);
	if (compressed.size != next.size)
		return changed(&next, &compressed, error);
	encoder->here = next;
	encoder->bytes = compressed.bytes;
	return 0;
}

/* Until `here` is where the offset is. In order, that is at most one place further. */
static int read_to(struct encoder *encoder, uint64_t offset, GError **error)
{
	if (encoder->bytes && offset >= encoder->here.start && offset < encoder->here.end)
		return 0;
	if (!encoder->bytes || offset != encoder->here.end) {
		encoder->bytes = NULL;
		if (places_find(encoder->places, offset, &encoder->walk, error) < 0)
			return -1;
		compressor_seek(encoder->compressor, encoder->walk.index);
	}
	return read_next(encoder, error);
}

static int read_data(void *opaque, uint64_t offset, unsigned char *to, size_t len,
		     size_t *ret_length, GError **error)
{
	struct encoder *encoder = opaque;
	const struct place *here = &encoder->here;

	if (read_to(encoder, offset, error) < 0)
		return -1;
	if (offset < here->from) {
		*ret_length = (size_t)MIN((uint64_t)len, here->from - offset);
		memset(to, 0, *ret_length);
	} else {
		*ret_length = (size_t)MIN((uint64_t)len, here->end - offset);
		memcpy(to, encoder->bytes + (offset - here->from), *ret_length);
	}
	return 0;
}

static int encoder_read(struct image_source *source, uint64_t offset, void *buf, size_t len,
			GError **error)
{
	return qcow2_read(((struct encoder *)source)->tables, offset, buf, len, error);
}

/* Compresses all, to learn the sizes. What is all zeros is data no more. */
static int measure(struct encoder *encoder, GError **error)
{
	struct compressed compressed;
	int rc;

	while ((rc = compressor_next(encoder->compressor, &compressed, error)) > 0) {
		if (compressed.size == SIZE_OF_ZEROS)
			clusters_clear(encoder->clusters, compressed.index);
		else if (places_add(encoder->places, compressed.index, compressed.size, error) < 0)
			return -1;
	}
	clusters_recount(encoder->clusters);
	return rc;
}

static int prepare(struct encoder *encoder, const struct image_compression *how, GError **error)
{
	encoder->clusters = clusters_new(encoder->source, error);
	if (!encoder->clusters)
		return -1;
	encoder->places = places_new(encoder->clusters, how);
	encoder->compressor = compressor_new(encoder->source, encoder->clusters, how, error);
	return encoder->compressor ? measure(encoder, error) : -1;
}

static void encoder_free(struct image_source *source)
{
	struct encoder *encoder = (struct encoder *)source;

	compressor_free(encoder->compressor);
	qcow2_tables_free(encoder->tables);
	places_free(encoder->places);
	clusters_free(encoder->clusters);
	image_source_free(encoder->source);
	g_free(encoder);
}

static const struct image_source_ops encoder_ops = {.read = encoder_read, .free = encoder_free};

struct image_source *image_source_new_qcow2_compressed(struct image_source *source,
						       const struct image_compression *how,
						       GError **error)
{
	struct encoder *encoder = g_new0(struct encoder, 1);
	struct qcow2_shape shape = {
		.size = source->size,
		.zstd = how->zstd,
		.make_l2 = make_l2,
		.make_refcounts = make_refcounts,
		.read_data = read_data,
		.opaque = encoder,
	};

	encoder->head.ops = &encoder_ops;
	encoder->source = source;
	if (prepare(encoder, how, error) < 0) {
		encoder_free(&encoder->head);
		return NULL;
	}
	shape.clusters = encoder->clusters;
	shape.data = (places_end(encoder->places) + CLUSTER - 1) >> CLUSTER_BITS;
	encoder->tables = qcow2_tables_new(&shape);
	encoder->head.size = qcow2_size(encoder->tables);
	return &encoder->head;
}
