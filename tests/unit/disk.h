/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared by the tests of image sources: a disk in memory, and calls of qemu-img, which checks
 * images.
 */
#ifndef NOVASNAP_TESTS_DISK_H
#define NOVASNAP_TESTS_DISK_H

#include <glib/gstdio.h>
#include <string.h>

#include "image/source/clusters.h"

#define TIB ((uint64_t)1 << 40)
#define MIB ((uint64_t)1 << 20)

struct extent {
	uint64_t offset;
	uint64_t length;
	bool data;
};

/* A disk in memory. Extents of data are filled; the others read as zeros. */
struct memory {
	struct image_source head;
	GArray *extents;
	unsigned char *bytes; /* NULL: the data is computed from its offset */
	bool marks;	      /* data only in the first sector of each cluster */
	uint64_t reads_of_zeros;
	unsigned reads;
	unsigned special;   /* the number of a read, from 1; 0: none. That read ... */
	bool fails;	    /* ... fails */
	atomic_int *cancel; /* ... sets this flag; NULL: none */
};

static inline bool is_data(const struct memory *memory, uint64_t offset)
{
	for (guint i = 0; i < memory->extents->len; i++) {
		const struct extent *extent = &g_array_index(memory->extents, struct extent, i);

		if (offset >= extent->offset && offset - extent->offset < extent->length)
			return extent->data;
	}
	return false;
}

/* Fills a sector with data that differs from cluster to cluster. */
static inline void memory_mark(unsigned char *sector, uint64_t offset)
{
	uint64_t seed = (offset >> CLUSTER_BITS) + 1;

	memset(sector, 0, 512);
	for (unsigned i = 0; i < 64 && i < seed % 61 + 1; i++) {
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		memcpy(sector + (size_t)8 * i, &seed, 8);
	}
}

/* `offset` is that of a cluster. */
static inline void memory_read_marks(uint64_t offset, unsigned char *to, size_t len)
{
	unsigned char sector[512];

	g_assert_cmpuint(offset % CLUSTER, ==, 0);
	memset(to, 0, len);
	for (size_t at = 0; at < len; at += CLUSTER) {
		memory_mark(sector, offset + at);
		memcpy(to + at, sector, MIN(sizeof(sector), len - at));
	}
}

static inline int memory_read(struct image_source *source, uint64_t offset, void *buf, size_t len,
			      GError **error)
{
	struct memory *memory = (struct memory *)source;

	g_assert_cmpuint(offset + len, <=, source->size);
	if (!is_data(memory, offset) && !is_data(memory, offset + len - 1))
		memory->reads_of_zeros++;
	if (++memory->reads == memory->special && memory->cancel)
		atomic_store(memory->cancel, 1);
	if (memory->reads == memory->special && memory->fails) {
		g_set_error_literal(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED,
				    "the disk is gone");
		return -1;
	}
	if (memory->marks)
		memory_read_marks(offset, buf, len);
	else if (memory->bytes)
		memcpy(buf, memory->bytes + offset, len);
	else
		memset(buf, (int)(offset >> CLUSTER_BITS) | 1, len);
	return 0;
}

static inline int memory_extents(struct image_source *source, image_extent_fn each, void *opaque,
				 GError **error)
{
	struct memory *memory = (struct memory *)source;

	(void)error;
	for (guint i = 0; i < memory->extents->len; i++) {
		const struct extent *extent = &g_array_index(memory->extents, struct extent, i);

		each(extent->offset, extent->length, extent->data, opaque);
	}
	return 0;
}

static inline void memory_free(struct image_source *source)
{
	struct memory *memory = (struct memory *)source;

	g_array_unref(memory->extents);
	g_free(memory->bytes);
	g_free(memory);
}

static const struct image_source_ops memory_ops = {
	.read = memory_read,
	.free = memory_free,
	.extents = memory_extents,
};

static inline struct memory *memory_new(uint64_t size)
{
	struct memory *memory = g_new0(struct memory, 1);

	memory->head.ops = &memory_ops;
	memory->head.size = size;
	memory->extents = g_array_new(FALSE, FALSE, sizeof(struct extent));
	return memory;
}

static inline void add_extent(struct memory *memory, uint64_t offset, uint64_t length, bool data)
{
	struct extent extent = {offset, length, data};

	g_array_append_val(memory->extents, extent);
}

static inline void store(struct image_source *source, const char *path, size_t chunk)
{
	FILE *file = fopen(path, "wb");
	g_autofree char *buffer = g_malloc(chunk);

	g_assert_nonnull(file);
	for (uint64_t at = 0; at < source->size;) {
		size_t length = (size_t)MIN((uint64_t)chunk, source->size - at);

		g_assert_cmpint(source->ops->read(source, at, buffer, length, NULL), ==, 0);
		g_assert_cmpuint(fwrite(buffer, 1, length, file), ==, length);
		at += length;
	}
	g_assert_cmpint(fclose(file), ==, 0);
}

static inline void run_qemu_img(const char *command, const char *one, const char *other)
{
	g_autofree char *line = g_strdup_printf("qemu-img %s %s %s", command, one, other);
	g_autofree char *errors = NULL;
	int status = -1;

	g_assert_true(g_spawn_command_line_sync(line, NULL, &errors, &status, NULL));
	if (status != 0)
		g_error("%s: %s", line, errors);
}

#endif
