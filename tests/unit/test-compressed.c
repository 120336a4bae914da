/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The encoder of compressed images, judged by qemu-img: random disks with all kinds of clusters
 * become images that are clean and identical. NOVASNAP_LAYOUTS says how many.
 * NOVASNAP_SPEED names a file of which the speed is shown.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/disk.h"

struct files {
	char *folder;
	char *plain;
	char *image;
};

static struct files files_new(void)
{
	struct files files = {.folder = g_dir_make_tmp("novasnap-compressed-XXXXXX", NULL)};

	g_assert_nonnull(files.folder);
	files.plain = g_build_filename(files.folder, "plain", NULL);
	files.image = g_build_filename(files.folder, "image", NULL);
	return files;
}

/* The folder must be empty then: what is spilled has no name. */
static void files_clear(struct files *files)
{
	(void)g_unlink(files->plain);
	(void)g_unlink(files->image);
	g_assert_cmpint(g_rmdir(files->folder), ==, 0);
	g_free(files->folder);
	g_free(files->plain);
	g_free(files->image);
}

static void judge(const struct files *files)
{
	run_qemu_img("check -q -f qcow2", files->image, "");
	run_qemu_img("compare -q -f raw -F qcow2", files->plain, files->image);
}

enum content { RANDOM, TEXT, CONSTANT, ZEROS, SPARSE, HOLE, CONTENTS };

static void fill_bytes(GRand *rand, unsigned char *bytes, uint64_t length, enum content content)
{
	static const char words[] = "the quick brown fox jumps over the lazy dog. ";
	int constant = g_rand_int_range(rand, 1, 256);

	for (uint64_t i = 0; i < length; i++) {
		if (content == RANDOM)
			bytes[i] = (unsigned char)g_rand_int(rand);
		else if (content == TEXT)
			bytes[i] = (unsigned char)words[(i + i / 97) % (sizeof(words) - 1)];
		else if (content == CONSTANT || (content == SPARSE && i % 5000 == 7))
			bytes[i] = (unsigned char)constant;
	}
}

/* Of a few sectors to a few hundred clusters, with edges anywhere. */
static struct memory *mixed_memory(GRand *rand, unsigned contents)
{
	uint64_t size = 512 * (uint64_t)g_rand_int_range(rand, 1, 40000);
	struct memory *memory = memory_new(size);
	uint64_t at = 0;

	memory->bytes = g_malloc0(size);
	while (at < size) {
		uint64_t scale = (uint64_t)1 << g_rand_int_range(rand, 0, 10);
		uint64_t wanted = 512 * scale * (uint64_t)g_rand_int_range(rand, 1, 5);
		uint64_t length = MIN(size - at, wanted);
		enum content content = (enum content)g_rand_int_range(rand, 0, CONTENTS);

		if (contents & (1U << content))
			fill_bytes(rand, memory->bytes + at, length, content);
		add_extent(memory, at, length, content != HOLE);
		at += length;
	}
	return memory;
}

#define ALL_CONTENTS ((1U << CONTENTS) - 1)

static unsigned char *read_all(struct image_source *source, size_t chunk)
{
	unsigned char *all = g_malloc(source->size);

	for (uint64_t at = 0; at < source->size; at += chunk) {
		size_t length = (size_t)MIN((uint64_t)chunk, source->size - at);

		g_assert_cmpint(source->ops->read(source, at, all + at, length, NULL), ==, 0);
	}
	return all;
}

/* A retry may begin where something else ended. */
static void check_boundaries(struct image_source *encoder, const unsigned char *all)
{
	unsigned char bytes[100];

	for (uint64_t n = encoder->size >> CLUSTER_BITS; n > 8; n -= 8) {
		uint64_t from = (n - 1) << CLUSTER_BITS;

		g_assert_cmpint(encoder->ops->read(encoder, from, bytes, sizeof(bytes), NULL), ==,
				0);
		g_assert_cmpmem(all + from, sizeof(bytes), bytes, sizeof(bytes));
	}
}

static void check_mixed(GRand *rand, const struct files *files, struct image_compression how)
{
	struct memory *memory = mixed_memory(rand, ALL_CONTENTS);
	g_autofree unsigned char *first = NULL;
	g_autofree unsigned char *second = NULL;
	struct image_source *encoder;

	g_assert_true(g_file_set_contents(files->plain, (char *)memory->bytes,
					  (gssize)memory->head.size, NULL));
	encoder = image_source_new_qcow2_compressed(&memory->head, &how, NULL);
	g_assert_nonnull(encoder);
	first = read_all(encoder, MIB);
	second = read_all(encoder, (size_t)g_rand_int_range(rand, 5000, 300000));
	g_assert_cmpmem(first, encoder->size, second, encoder->size);
	for (int i = 0; i < 20; i++) {
		uint64_t at = (uint64_t)(g_rand_double(rand) * (double)encoder->size);
		uint64_t wanted = (uint64_t)g_rand_int_range(rand, 1, 200000);
		size_t length = (size_t)MIN(encoder->size - at, wanted);

		g_assert_cmpint(encoder->ops->read(encoder, at, second, length, NULL), ==, 0);
		g_assert_cmpmem(first + at, length, second, length);
	}
	check_boundaries(encoder, first);
	g_assert_true(
		g_file_set_contents(files->image, (char *)first, (gssize)encoder->size, NULL));
	judge(files);
	image_source_free(encoder);
}

static void test_random_layouts(gconstpointer zstd)
{
	const char *wanted = g_getenv("NOVASNAP_LAYOUTS");
	int layouts = wanted ? atoi(wanted) : 20;
	GRand *rand = g_rand_new_with_seed((guint32)g_test_rand_int());
	struct files files = files_new();

	for (int i = 0; i < layouts; i++) {
		struct image_compression how = {
			.zstd = zstd != NULL,
			.level = g_rand_int_range(rand, 0, 10),
			.threads = (unsigned)g_rand_int_range(rand, 0, 6),
			.spill_dir = files.folder,
			.spill_bound = g_rand_boolean(rand) ? 20 : 0,
		};

		check_mixed(rand, &files, how);
	}
	files_clear(&files);
	g_rand_free(rand);
}

/* How an image comes out does not depend on the threads, nor on what a codec saw before. */
static void test_threads_make_no_difference(gconstpointer zstd)
{
	unsigned char *images[2];
	uint64_t sizes[2];

	for (unsigned i = 0; i < 2; i++) {
		GRand *rand = g_rand_new_with_seed(3);
		struct memory *memory = mixed_memory(rand, ALL_CONTENTS);
		struct image_compression how = {.zstd = zstd != NULL, .threads = 1 + i * 6};
		struct image_source *encoder =
			image_source_new_qcow2_compressed(&memory->head, &how, NULL);

		images[i] = read_all(encoder, MIB);
		sizes[i] = encoder->size;
		image_source_free(encoder);
		g_rand_free(rand);
	}
	g_assert_cmpmem(images[0], sizes[0], images[1], sizes[1]);
	g_free(images[0]);
	g_free(images[1]);
}

/* One kind of bytes on all of the disk: as many clusters are there as are expected. */
static void expect_size(const struct files *files, uint64_t size, enum content content,
			uint64_t clusters)
{
	for (int zstd = 0; zstd < 2; zstd++) {
		struct image_compression how = {.zstd = zstd};
		struct memory *memory = memory_new(size);
		GRand *rand = g_rand_new_with_seed(5);
		struct image_source *encoder;

		memory->bytes = g_malloc0(size + 1);
		fill_bytes(rand, memory->bytes, size, content);
		add_extent(memory, 0, size, content != HOLE);
		g_assert_true(g_file_set_contents(files->plain, (char *)memory->bytes, (gssize)size,
						  NULL));
		encoder = image_source_new_qcow2_compressed(&memory->head, &how, NULL);
		g_assert_nonnull(encoder);
		g_assert_cmpuint(encoder->size, ==, clusters << CLUSTER_BITS);
		store(encoder, files->image, 70000);
		judge(files);
		image_source_free(encoder);
		g_rand_free(rand);
	}
}

static void test_sizes(void)
{
	struct files files = files_new();

	/* Header, refcount table, refcount block, L1. */
	expect_size(&files, 0, HOLE, 4);
	expect_size(&files, MIB, HOLE, 4);
	expect_size(&files, MIB, ZEROS, 4);
	expect_size(&files, MIB, RANDOM, 4 + 1 + 16);
	expect_size(&files, 20 * MIB, RANDOM, 4 + 1 + 320);
	expect_size(&files, MIB, CONSTANT, 4 + 1 + 1);
	expect_size(&files, 512, RANDOM, 4 + 1 + 1);
	expect_size(&files, MIB + 512, RANDOM, 4 + 1 + 16 + 1);
	files_clear(&files);
}

/* Each cluster has bytes in its first sector alone. */
static void write_marks(const struct files *files, struct memory *memory)
{
	int fd = open(files->plain, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	unsigned char sector[512];

	g_assert_cmpint(fd, >=, 0);
	g_assert_cmpint(ftruncate(fd, (off_t)memory->head.size), ==, 0);
	for (guint i = 0; i < memory->extents->len; i++) {
		const struct extent *extent = &g_array_index(memory->extents, struct extent, i);

		for (uint64_t at = 0; extent->data && at < extent->length; at += CLUSTER) {
			memory_mark(sector, extent->offset + at);
			g_assert_cmpint(
				pwrite(fd, sector, sizeof(sector), (off_t)(extent->offset + at)),
				==, sizeof(sector));
		}
	}
	g_assert_cmpint(close(fd), ==, 0);
}

static uint64_t resident(void)
{
	g_autofree char *words = NULL;

	g_assert_true(g_file_get_contents("/proc/self/statm", &words, NULL, NULL));
	return g_ascii_strtoull(strchr(words, ' '), NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEMORY_IS_BOUNDED false
#else
#define MEMORY_IS_BOUNDED true
#endif

static void check_marks(struct memory *memory, uint64_t spill_bound)
{
	struct files files = files_new();
	struct image_compression how = {
		.zstd = true, .threads = 2, .spill_dir = files.folder, .spill_bound = spill_bound};
	uint64_t before = resident();
	struct image_source *encoder;

	memory->marks = true;
	write_marks(&files, memory);
	encoder = image_source_new_qcow2_compressed(&memory->head, &how, NULL);
	g_assert_nonnull(encoder);
	store(encoder, files.image, MIB);
	g_test_message("%" G_GUINT64_FORMAT " KiB more", (resident() - before) >> 10);
	if (MEMORY_IS_BOUNDED)
		g_assert_cmpuint(resident(), <, before + 12 * MIB);
	judge(&files);
	image_source_free(encoder);
	files_clear(&files);
}

static void test_large(void)
{
	struct memory *memory = memory_new(TIB);
	uint64_t step = TIB / 64;

	for (uint64_t at = 0; at < TIB; at += step) {
		add_extent(memory, at, MIB / 16 * (at / step % 3 + 1), true);
		add_extent(memory, at + MIB / 16 * (at / step % 3 + 1),
			   step - MIB / 16 * (at / step % 3 + 1), false);
	}
	check_marks(memory, 0);
}

/* So many clusters that the file has several windows. */
static void test_spilled(void)
{
	struct memory *memory = memory_new(9000 * CLUSTER + 512);

	add_extent(memory, 0, 5000 * CLUSTER, true);
	add_extent(memory, 5000 * CLUSTER, 3000 * CLUSTER, false);
	add_extent(memory, 8000 * CLUSTER, 1000 * CLUSTER + 512, true);
	check_marks(memory, 1000);
}

static struct memory *marked_memory(uint64_t size)
{
	struct memory *memory = memory_new(size);

	memory->marks = true;
	add_extent(memory, 0, size, true);
	return memory;
}

static uint64_t get64(const unsigned char *from)
{
	uint64_t value;

	memcpy(&value, from, sizeof(value));
	return GUINT64_FROM_BE(value);
}

/* A cluster ends in the sector of the byte before the next one: QEMU does not mind one sector more,
 * until it is that of a cluster of the file which nothing else refers to. */
static void test_descriptors(void)
{
	struct image_compression how = {.zstd = true};
	struct memory *memory = marked_memory(4000 * CLUSTER);
	struct image_source *encoder = image_source_new_qcow2_compressed(&memory->head, &how, NULL);
	g_autofree unsigned char *all = read_all(encoder, MIB);
	const unsigned char *l1 = all + get64(all + 40);
	const unsigned char *l2 = all + (get64(l1) & (((uint64_t)1 << 56) - 1));
	uint64_t offsets = ((uint64_t)1 << 54) - 1;

	for (uint64_t i = 0; i + 1 < 4000; i++) {
		uint64_t entry = get64(l2 + i * 8);
		uint64_t next = get64(l2 + i * 8 + 8) & offsets;

		g_assert_cmpuint(entry >> 62, ==, 1);
		g_assert_cmpuint(((entry & offsets) >> 9) + (entry >> 54 & 255), ==,
				 (next - 1) >> 9);
	}
	image_source_free(encoder);
}

static void test_no_room_to_spill(void)
{
	struct image_compression how = {.spill_dir = "/nonexistent", .spill_bound = 2};
	struct memory *memory = marked_memory(MIB);
	GError *error = NULL;

	g_assert_null(image_source_new_qcow2_compressed(&memory->head, &how, &error));
	g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT);
	g_clear_error(&error);
}

static void refuse(struct memory *memory, struct image_compression how, int code)
{
	GError *error = NULL;

	g_assert_null(image_source_new_qcow2_compressed(&memory->head, &how, &error));
	g_assert_error(error, IMAGE_SOURCE_ERROR, code);
	g_clear_error(&error);
}

static void test_refused(void)
{
	refuse(marked_memory(8 * TIB + 512), (struct image_compression){0},
	       IMAGE_SOURCE_ERROR_FAILED);
	refuse(marked_memory(MIB), (struct image_compression){.level = 10},
	       IMAGE_SOURCE_ERROR_FAILED);
	refuse(marked_memory(MIB), (struct image_compression){.level = -1},
	       IMAGE_SOURCE_ERROR_FAILED);
	refuse(marked_memory(MIB), (struct image_compression){.zstd = true, .level = 99},
	       IMAGE_SOURCE_ERROR_FAILED);
}

static void test_cancelled(void)
{
	atomic_int cancel = 0;
	struct image_compression how = {.cancel = &cancel, .threads = 3};
	/* So large that it would not end in time. */
	struct memory *memory = marked_memory(4 * TIB);

	memory->special = 20;
	memory->cancel = &cancel;
	refuse(memory, how, IMAGE_SOURCE_ERROR_CANCELLED);
}

static void test_source_fails(void)
{
	struct memory *memory = marked_memory(8 * MIB);
	g_autofree unsigned char *all = NULL;
	g_autofree unsigned char *again = NULL;
	struct image_compression how = {.threads = 2};
	struct image_source *encoder;
	GError *error = NULL;

	memory->special = 3;
	memory->fails = true;
	refuse(memory, how, IMAGE_SOURCE_ERROR_DISCONNECTED);
	memory = marked_memory(8 * MIB);
	encoder = image_source_new_qcow2_compressed(&memory->head, &how, NULL);
	all = read_all(encoder, MIB);
	memory->special = memory->reads + 5;
	memory->fails = true;
	again = g_malloc(encoder->size);
	g_assert_cmpint(encoder->ops->read(encoder, 0, again, encoder->size, &error), ==, -1);
	g_assert_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED);
	g_clear_error(&error);
	g_assert_cmpint(encoder->ops->read(encoder, 0, again, encoder->size, NULL), ==, 0);
	g_assert_cmpmem(all, encoder->size, again, encoder->size);
	image_source_free(encoder);
}

static void test_disk_changes(void)
{
	struct memory *memory = memory_new(4 * MIB);
	struct image_compression how = {.threads = 2};
	struct image_source *encoder;
	g_autofree char *all = NULL;
	GError *error = NULL;

	memory->bytes = g_malloc0(4 * MIB);
	memset(memory->bytes, 'x', 4 * MIB);
	add_extent(memory, 0, 4 * MIB, true);
	encoder = image_source_new_qcow2_compressed(&memory->head, &how, NULL);
	memset(memory->bytes + MIB, 0, CLUSTER);
	all = g_malloc(encoder->size);
	g_assert_cmpint(encoder->ops->read(encoder, 0, all, encoder->size, &error), ==, -1);
	g_assert_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED);
	g_assert_nonnull(strstr(error->message, "byte 1048576"));
	g_clear_error(&error);
	image_source_free(encoder);
}

static void test_speed(gconstpointer zstd)
{
	const char *path = g_getenv("NOVASNAP_SPEED");

	for (unsigned threads = 1; threads <= 2; threads++) {
		struct image_compression how = {.zstd = zstd != NULL, .threads = threads};
		struct image_source *file = image_source_new_file(path, NULL);
		double mib = (double)file->size / (double)MIB;
		gint64 start = g_get_monotonic_time(), middle;
		struct image_source *encoder = image_source_new_qcow2_compressed(file, &how, NULL);
		g_autofree char *buffer = g_malloc(MIB);

		middle = g_get_monotonic_time();
		for (uint64_t at = 0; at < encoder->size; at += MIB) {
			size_t length = (size_t)MIN(MIB, encoder->size - at);

			g_assert_cmpint(encoder->ops->read(encoder, at, buffer, length, NULL), ==,
					0);
		}
		g_test_message("%u threads: %.0f MiB to %.0f MiB; %.0f MiB/s, %.0f MiB/s; "
			       "%" G_GUINT64_FORMAT " KiB resident",
			       threads, mib, (double)encoder->size / (double)MIB,
			       mib / (double)(middle - start) * 1e6,
			       mib / (double)(g_get_monotonic_time() - middle) * 1e6,
			       resident() >> 10);
		image_source_free(encoder);
	}
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/compressed/sizes", test_sizes);
	g_test_add_func("/compressed/large", test_large);
	g_test_add_func("/compressed/spilled", test_spilled);
	g_test_add_func("/compressed/descriptors", test_descriptors);
	g_test_add_func("/compressed/no-room-to-spill", test_no_room_to_spill);
	g_test_add_func("/compressed/refused", test_refused);
	g_test_add_func("/compressed/cancelled", test_cancelled);
	g_test_add_func("/compressed/source-fails", test_source_fails);
	g_test_add_func("/compressed/disk-changes", test_disk_changes);
	g_test_add_data_func("/compressed/zlib/threads", NULL, test_threads_make_no_difference);
	g_test_add_data_func("/compressed/zstd/threads", "", test_threads_make_no_difference);
	g_test_add_data_func("/compressed/zlib/random-layouts", NULL, test_random_layouts);
	g_test_add_data_func("/compressed/zstd/random-layouts", "", test_random_layouts);
	if (!g_getenv("NOVASNAP_SPEED"))
		return g_test_run();
	g_test_add_data_func("/compressed/zlib/speed", NULL, test_speed);
	g_test_add_data_func("/compressed/zstd/speed", "", test_speed);
	return g_test_run();
}
