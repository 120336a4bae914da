/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of image sources share: a disk in memory, and qemu-img, which checks images.
 */
#ifndef NOVASNAP_TESTS_DISK_H
#define NOVASNAP_TESTS_DISK_H

#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/source/cluster-map.h"

#define TIB ((uint64_t)1 << 40)
#define MIB ((uint64_t)1 << 20)
#define SECTOR ((size_t)512)

struct extent {
	uint64_t offset;
	uint64_t length;
	bool data;
};

/* A source with any extents. Extents that are not data read as zeros. */
struct memory_disk {
	struct image_source head;
	GArray *extents;
	unsigned char *bytes; /* NULL: a byte that depends on the offset */
	bool marked;	      /* the contents are memory_disk_mark() */
	uint64_t reads_of_zeros;
	unsigned reads;
	/* The effects of one read, counted from 1; 0: none. */
	unsigned special_read;
	bool special_fails;
	atomic_int *special_sets; /* the flag that it sets; NULL: none */
	GArray *started;	  /* of struct started_read, not finished; NULL: reads at once */
};

struct started_read {
	struct image_read *read;
	uint64_t offset;
	void *buf;
	size_t len;
};

static inline bool memory_disk_has_data(const struct memory_disk *disk, uint64_t offset)
{
	for (guint i = 0; i < disk->extents->len; i++) {
		const struct extent *extent = &g_array_index(disk->extents, struct extent, i);

		if (offset >= extent->offset && offset - extent->offset < extent->length)
			return extent->data;
	}
	return false;
}

/* Fills a sector with bytes that no other cluster has. */
static inline void memory_disk_mark(unsigned char *sector, uint64_t offset)
{
	uint64_t seed = (offset >> CLUSTER_BITS) + 1;

	memset(sector, 0, SECTOR);
	for (unsigned i = 0; i < 64 && i < seed % 61 + 1; i++) {
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		memcpy(sector + (size_t)8 * i, &seed, 8);
	}
}

/* The first sector of each cluster is marked, and the others are zeros. */
static inline void memory_disk_read_marks(uint64_t offset, unsigned char *to, size_t len)
{
	unsigned char sector[SECTOR];

	g_assert_cmpuint(offset % CLUSTER_SIZE, ==, 0);
	memset(to, 0, len);
	for (size_t at = 0; at < len; at += CLUSTER_SIZE) {
		memory_disk_mark(sector, offset + at);
		memcpy(to + at, sector, MIN(sizeof(sector), len - at));
	}
}

static inline int memory_disk_read(struct image_source *source, uint64_t offset, void *buf,
				   size_t len, GError **error)
{
	struct memory_disk *disk = (struct memory_disk *)source;
	bool special = ++disk->reads == disk->special_read;

	g_assert_cmpuint(offset + len, <=, source->size);
	if (!memory_disk_has_data(disk, offset) && !memory_disk_has_data(disk, offset + len - 1))
		disk->reads_of_zeros++;
	if (special && disk->special_sets)
		atomic_store(disk->special_sets, 1);
	if (special && disk->special_fails) {
		g_set_error_literal(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED,
				    "the disk is gone");
		return -1;
	}
	if (disk->marked)
		memory_disk_read_marks(offset, buf, len);
	else if (disk->bytes)
		memcpy(buf, disk->bytes + offset, len);
	else
		memset(buf, (int)(offset >> CLUSTER_BITS) | 1, len);
	return 0;
}

static inline int memory_disk_extents(struct image_source *source, image_extent_fn each,
				      void *opaque, GError **error)
{
	struct memory_disk *disk = (struct memory_disk *)source;

	(void)error;
	for (guint i = 0; i < disk->extents->len; i++) {
		const struct extent *extent = &g_array_index(disk->extents, struct extent, i);

		each(extent->offset, extent->length, extent->data, opaque);
	}
	return 0;
}

static inline void memory_disk_free(struct image_source *source)
{
	struct memory_disk *disk = (struct memory_disk *)source;

	if (disk->started) {
		g_assert_cmpuint(disk->started->len, ==, 0);
		g_array_unref(disk->started);
	}
	g_array_unref(disk->extents);
	g_free(disk->bytes);
	g_free(disk);
}

static const struct image_source_ops memory_disk_ops = {
	.read = memory_disk_read,
	.free = memory_disk_free,
	.extents = memory_disk_extents,
};

/* The bytes arrive only when the read is finished. */
static inline int memory_disk_start(struct image_source *source, struct image_read *read,
				    uint64_t offset, void *buf, size_t len, GError **error)
{
	struct memory_disk *disk = (struct memory_disk *)source;
	const struct started_read started = {read, offset, buf, len};

	(void)error;
	memset(buf, 0x5a, len);
	read->pending++;
	g_array_append_val(disk->started, started);
	return 0;
}

static inline int memory_disk_finish(struct image_source *source, struct image_read *read,
				     GError **error)
{
	struct memory_disk *disk = (struct memory_disk *)source;
	GArray *started = disk->started;
	int rc = 0;

	for (guint i = started->len; i > 0; i--) {
		const struct started_read one = g_array_index(started, struct started_read, i - 1);

		if (one.read != read)
			continue;
		if (rc == 0)
			rc = memory_disk_read(source, one.offset, one.buf, one.len, error);
		read->pending--;
		g_array_remove_index(started, i - 1);
	}
	return rc;
}

static const struct image_source_ops delayed_disk_ops = {
	.read = image_source_start_and_finish,
	.start = memory_disk_start,
	.finish = memory_disk_finish,
	.free = memory_disk_free,
	.extents = memory_disk_extents,
};

/* Reads of the disk no longer arrive at once. */
static inline void memory_disk_delay(struct memory_disk *disk)
{
	disk->head.ops = &delayed_disk_ops;
	disk->started = g_array_new(FALSE, FALSE, sizeof(struct started_read));
}

/* Makes a disk without extents. */
static inline struct memory_disk *memory_disk_new(uint64_t size)
{
	struct memory_disk *disk = g_new0(struct memory_disk, 1);

	disk->head.ops = &memory_disk_ops;
	disk->head.size = size;
	disk->extents = g_array_new(FALSE, FALSE, sizeof(struct extent));
	return disk;
}

static inline void memory_disk_add_extent(struct memory_disk *disk, uint64_t offset,
					  uint64_t length, bool data)
{
	struct extent extent = {offset, length, data};

	g_array_append_val(disk->extents, extent);
}

/* Fills the next extent, whose bytes are zeros, and returns whether it is data. */
typedef bool (*memory_disk_fill_fn)(GRand *rand, unsigned char *bytes, uint64_t length);

/* Makes a disk of up to `sectors_max` sectors, with extents of 1 to 4 << `scale_max` sectors, so
 * that their edges are anywhere in a cluster. */
static inline struct memory_disk *memory_disk_new_random(GRand *rand, int sectors_max,
							 int scale_max, memory_disk_fill_fn fill)
{
	uint64_t size = SECTOR * (uint64_t)g_rand_int_range(rand, 1, sectors_max);
	struct memory_disk *disk = memory_disk_new(size);
	uint64_t at = 0;

	if (g_rand_boolean(rand))
		memory_disk_delay(disk);
	disk->bytes = g_malloc0(size);
	while (at < size) {
		uint64_t scale = (uint64_t)1 << g_rand_int_range(rand, 0, scale_max + 1);
		uint64_t wanted = SECTOR * scale * (uint64_t)g_rand_int_range(rand, 1, 5);
		uint64_t length = MIN(size - at, wanted);
		bool data = fill(rand, disk->bytes + at, length);

		memory_disk_add_extent(disk, at, length, data);
		at += length;
	}
	return disk;
}

/* How many random disks to try: NOVASNAP_LAYOUTS, or `usual`. */
static inline int random_layouts(int usual)
{
	const char *wanted = g_getenv("NOVASNAP_LAYOUTS");

	return wanted ? atoi(wanted) : usual;
}

/* Reads a source from start to end in pieces of `chunk` bytes. The caller frees the bytes. */
static inline unsigned char *source_read_all(struct image_source *source, size_t chunk)
{
	unsigned char *all = g_malloc(source->size);

	for (uint64_t at = 0; at < source->size; at += chunk) {
		size_t length = (size_t)MIN((uint64_t)chunk, source->size - at);

		g_assert_cmpint(source->ops->read(source, at, all + at, length, NULL), ==, 0);
	}
	return all;
}

#define READS_AHEAD 4

/* Writes the source to a file, reading pieces of `chunk` bytes, several of them at a time. */
static inline void source_write_file(struct image_source *source, const char *path, size_t chunk)
{
	FILE *file = fopen(path, "wb");
	g_autofree char *buffer = g_malloc(chunk * READS_AHEAD);
	struct image_read reads[READS_AHEAD];
	uint64_t count = (source->size + chunk - 1) / chunk, started = 0;

	g_assert_nonnull(file);
	for (uint64_t n = 0; n < count; n++) {
		size_t length = (size_t)MIN((uint64_t)chunk, source->size - n * chunk);

		for (; started < count && started < n + READS_AHEAD; started++) {
			uint64_t at = started * chunk;
			unsigned slot = (unsigned)(started % READS_AHEAD);

			reads[slot] = (struct image_read){0};
			g_assert_cmpint(
				image_source_start(source, &reads[slot], at, buffer + slot * chunk,
						   (size_t)MIN((uint64_t)chunk, source->size - at),
						   NULL),
				==, 0);
		}
		g_assert_cmpint(image_source_finish(source, &reads[n % READS_AHEAD], NULL), ==, 0);
		g_assert_cmpuint(fwrite(buffer + n % READS_AHEAD * chunk, 1, length, file), ==,
				 length);
	}
	g_assert_cmpint(fclose(file), ==, 0);
}

/* A folder with the contents of a disk and the image that an encoder made of it. */
struct image_files {
	char *folder;
	char *plain; /* the path of the raw disk */
	char *image; /* the path of the image */
};

static inline struct image_files image_files_new(void)
{
	struct image_files files = {.folder = g_dir_make_tmp("novasnap-image-XXXXXX", NULL)};

	g_assert_nonnull(files.folder);
	files.plain = g_build_filename(files.folder, "plain", NULL);
	files.image = g_build_filename(files.folder, "image", NULL);
	return files;
}

/* Fails if there are other files in the folder. */
static inline void image_files_clear(struct image_files *files)
{
	(void)g_unlink(files->plain);
	(void)g_unlink(files->image);
	g_assert_cmpint(g_rmdir(files->folder), ==, 0);
	g_free(files->folder);
	g_free(files->plain);
	g_free(files->image);
}

static inline void image_files_set_plain(const struct image_files *files,
					 const struct memory_disk *disk)
{
	g_assert_true(g_file_set_contents(files->plain, (const char *)disk->bytes,
					  (gssize)disk->head.size, NULL));
}

static inline void qemu_img_run(const char *command, const char *first, const char *second)
{
	g_autofree char *line = g_strdup_printf("qemu-img %s %s %s", command, first, second);
	g_autofree char *messages = NULL;
	int status = -1;

	g_assert_true(g_spawn_command_line_sync(line, NULL, &messages, &status, NULL));
	if (status != 0)
		g_error("%s: %s", line, messages);
}

/* The image must be a qcow2 image without errors whose contents are those of the disk. */
static inline void image_files_check(const struct image_files *files)
{
	qemu_img_run("check -q -f qcow2", files->image, "");
	qemu_img_run("compare -q -f raw -F qcow2", files->plain, files->image);
}

#endif
