/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The encoder of compressed images. qemu-img checks the images of random disks, whose number
 * NOVASNAP_LAYOUTS sets. NOVASNAP_SPEED names a file with which the speed is measured.
 */
#include <fcntl.h>
#include <unistd.h>

#include "tests/unit/disk.h"

/* Kinds of bytes on a disk. */
enum content {
	CONTENT_RANDOM,
	CONTENT_TEXT,
	CONTENT_CONSTANT,
	CONTENT_ZEROS,
	CONTENT_SPARSE,
	CONTENT_HOLE, /* no data */
	CONTENT_COUNT,
};

static void fill_content(GRand *rand, unsigned char *bytes, uint64_t length, enum content content)
{
	static const char text[] = "the quick brown fox jumps over the lazy dog. ";
	int constant = g_rand_int_range(rand, 1, 256);

	for (uint64_t i = 0; i < length; i++) {
		if (content == CONTENT_RANDOM)
			bytes[i] = (unsigned char)g_rand_int(rand);
		else if (content == CONTENT_TEXT)
			bytes[i] = (unsigned char)text[(i + i / 97) % (sizeof(text) - 1)];
		else if (content == CONTENT_CONSTANT ||
			 (content == CONTENT_SPARSE && i % 5000 == 7))
			bytes[i] = (unsigned char)constant;
	}
}

static bool fill_mixed(GRand *rand, unsigned char *bytes, uint64_t length)
{
	enum content content = (enum content)g_rand_int_range(rand, 0, CONTENT_COUNT);

	fill_content(rand, bytes, length, content);
	return content != CONTENT_HOLE;
}

static struct memory_disk *mixed_disk(GRand *rand)
{
	return memory_disk_new_random(rand, 40000, 9, fill_mixed);
}

/* Reads that start at a cluster, after a read somewhere else. */
static void check_cluster_starts(struct image_source *encoder, const unsigned char *all)
{
	unsigned char bytes[100];

	for (uint64_t n = encoder->size >> CLUSTER_BITS; n > 8; n -= 8) {
		uint64_t from = (n - 1) << CLUSTER_BITS;

		g_assert_cmpint(encoder->ops->read(encoder, from, bytes, sizeof(bytes), NULL), ==,
				0);
		g_assert_cmpmem(all + from, sizeof(bytes), bytes, sizeof(bytes));
	}
}

static void check_mixed(GRand *rand, const struct image_files *files, struct image_compression how)
{
	struct memory_disk *disk = mixed_disk(rand);
	g_autofree unsigned char *first = NULL;
	g_autofree unsigned char *second = NULL;
	struct image_source *encoder;

	image_files_set_plain(files, disk);
	encoder = image_source_new_qcow2_compressed(&disk->head, &how, NULL);
	g_assert_nonnull(encoder);
	first = source_read_all(encoder, MIB);
	second = source_read_all(encoder, (size_t)g_rand_int_range(rand, 5000, 300000));
	g_assert_cmpmem(first, encoder->size, second, encoder->size);
	for (int i = 0; i < 20; i++) {
		uint64_t at = (uint64_t)(g_rand_double(rand) * (double)encoder->size);
		uint64_t wanted = (uint64_t)g_rand_int_range(rand, 1, 200000);
		size_t length = (size_t)MIN(encoder->size - at, wanted);

		g_assert_cmpint(encoder->ops->read(encoder, at, second, length, NULL), ==, 0);
		g_assert_cmpmem(first + at, length, second, length);
	}
	check_cluster_starts(encoder, first);
	g_assert_true(
		g_file_set_contents(files->image, (char *)first, (gssize)encoder->size, NULL));
	image_files_check(files);
	image_source_free(encoder);
}

static void test_random_layouts(gconstpointer zstd)
{
	int layouts = random_layouts(20);
	GRand *rand = g_rand_new_with_seed((guint32)g_test_rand_int());
	struct image_files files = image_files_new();

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
	image_files_clear(&files);
	g_rand_free(rand);
}

/* The image depends neither on the number of threads, nor on what a codec compressed before. */
static void test_same_for_any_threads(gconstpointer zstd)
{
	unsigned char *images[2];
	uint64_t sizes[2];

	for (unsigned i = 0; i < 2; i++) {
		GRand *rand = g_rand_new_with_seed(3);
		struct memory_disk *disk = mixed_disk(rand);
		struct image_compression how = {.zstd = zstd != NULL, .threads = 1 + i * 6};
		struct image_source *encoder =
			image_source_new_qcow2_compressed(&disk->head, &how, NULL);

		images[i] = source_read_all(encoder, MIB);
		sizes[i] = encoder->size;
		image_source_free(encoder);
		g_rand_free(rand);
	}
	g_assert_cmpmem(images[0], sizes[0], images[1], sizes[1]);
	g_free(images[0]);
	g_free(images[1]);
}

/* The image of a disk with one kind of bytes has so many clusters. */
static void expect_clusters(const struct image_files *files, uint64_t size, enum content content,
			    uint64_t clusters)
{
	for (int zstd = 0; zstd < 2; zstd++) {
		struct image_compression how = {.zstd = zstd};
		struct memory_disk *disk = memory_disk_new(size);
		GRand *rand = g_rand_new_with_seed(5);
		struct image_source *encoder;

		disk->bytes = g_malloc0(size + 1);
		fill_content(rand, disk->bytes, size, content);
		memory_disk_add_extent(disk, 0, size, content != CONTENT_HOLE);
		image_files_set_plain(files, disk);
		encoder = image_source_new_qcow2_compressed(&disk->head, &how, NULL);
		g_assert_nonnull(encoder);
		g_assert_cmpuint(encoder->size, ==, clusters << CLUSTER_BITS);
		source_write_file(encoder, files->image, 70000);
		image_files_check(files);
		image_source_free(encoder);
		g_rand_free(rand);
	}
}

static void test_sizes(void)
{
	struct image_files files = image_files_new();

	/* Header, refcount table, refcount block and L1 table; L2 table; data. */
	expect_clusters(&files, 0, CONTENT_HOLE, 4);
	expect_clusters(&files, MIB, CONTENT_HOLE, 4);
	expect_clusters(&files, MIB, CONTENT_ZEROS, 4);
	expect_clusters(&files, MIB, CONTENT_RANDOM, 4 + 1 + 16);
	expect_clusters(&files, 20 * MIB, CONTENT_RANDOM, 4 + 1 + 320);
	expect_clusters(&files, MIB, CONTENT_CONSTANT, 4 + 1 + 1);
	expect_clusters(&files, SECTOR, CONTENT_RANDOM, 4 + 1 + 1);
	expect_clusters(&files, MIB + SECTOR, CONTENT_RANDOM, 4 + 1 + 16 + 1);
	image_files_clear(&files);
}

/* Writes the disk as a sparse file: each cluster has data only in its first sector. */
static void write_marks(const struct image_files *files, struct memory_disk *disk)
{
	int fd = open(files->plain, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	unsigned char sector[SECTOR];

	g_assert_cmpint(fd, >=, 0);
	g_assert_cmpint(ftruncate(fd, (off_t)disk->head.size), ==, 0);
	for (guint i = 0; i < disk->extents->len; i++) {
		const struct extent *extent = &g_array_index(disk->extents, struct extent, i);

		for (uint64_t at = 0; extent->data && at < extent->length; at += CLUSTER_SIZE) {
			memory_disk_mark(sector, extent->offset + at);
			g_assert_cmpint(
				pwrite(fd, sector, sizeof(sector), (off_t)(extent->offset + at)),
				==, sizeof(sector));
		}
	}
	g_assert_cmpint(close(fd), ==, 0);
}

/* Returns the resident memory of this process in bytes. */
static uint64_t resident_memory(void)
{
	g_autofree char *statm = NULL;

	g_assert_true(g_file_get_contents("/proc/self/statm", &statm, NULL, NULL));
	return g_ascii_strtoull(strchr(statm, ' '), NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER true
#else
#define HAS_SANITIZER false
#endif

/* Encodes a marked disk and checks how much memory that takes. */
static void check_marked_disk(struct memory_disk *disk, uint64_t spill_bound)
{
	struct image_files files = image_files_new();
	struct image_compression how = {
		.zstd = true, .threads = 2, .spill_dir = files.folder, .spill_bound = spill_bound};
	uint64_t before = resident_memory();
	struct image_source *encoder;

	disk->marked = true;
	write_marks(&files, disk);
	encoder = image_source_new_qcow2_compressed(&disk->head, &how, NULL);
	g_assert_nonnull(encoder);
	source_write_file(encoder, files.image, MIB);
	g_test_message("%" G_GUINT64_FORMAT " KiB more memory", (resident_memory() - before) >> 10);
	/* A sanitizer and valgrind need memory of their own. */
	if (!HAS_SANITIZER && !g_getenv("NOVASNAP_UNIT_UNDER"))
		g_assert_cmpuint(resident_memory(), <, before + 12 * MIB);
	image_files_check(&files);
	image_source_free(encoder);
	image_files_clear(&files);
}

static void test_large(void)
{
	struct memory_disk *disk = memory_disk_new(TIB);
	uint64_t step = TIB / 64;

	for (uint64_t at = 0; at < TIB; at += step) {
		memory_disk_add_extent(disk, at, MIB / 16 * (at / step % 3 + 1), true);
		memory_disk_add_extent(disk, at + MIB / 16 * (at / step % 3 + 1),
				       step - MIB / 16 * (at / step % 3 + 1), false);
	}
	check_marked_disk(disk, 0);
}

/* The temporary file has several windows. */
static void test_spilled(void)
{
	struct memory_disk *disk = memory_disk_new(9000 * CLUSTER_SIZE + SECTOR);

	memory_disk_add_extent(disk, 0, 5000 * CLUSTER_SIZE, true);
	memory_disk_add_extent(disk, 5000 * CLUSTER_SIZE, 3000 * CLUSTER_SIZE, false);
	memory_disk_add_extent(disk, 8000 * CLUSTER_SIZE, 1000 * CLUSTER_SIZE + SECTOR, true);
	check_marked_disk(disk, 1000);
}

static struct memory_disk *marked_disk(uint64_t size)
{
	struct memory_disk *disk = memory_disk_new(size);

	disk->marked = true;
	memory_disk_add_extent(disk, 0, size, true);
	return disk;
}

static uint64_t get64(const unsigned char *from)
{
	uint64_t value;

	memcpy(&value, from, sizeof(value));
	return GUINT64_FROM_BE(value);
}

/* The last sector of a cluster is that of the byte before the next one. An image with one sector
 * too many passes qemu-img check, unless that sector is in a cluster of the file that nothing else
 * uses. */
static void test_sector_counts(void)
{
	struct image_compression how = {.zstd = true};
	struct memory_disk *disk = marked_disk(4000 * CLUSTER_SIZE);
	struct image_source *encoder = image_source_new_qcow2_compressed(&disk->head, &how, NULL);
	g_autofree unsigned char *all = source_read_all(encoder, MIB);
	const unsigned char *l1 = all + get64(all + 40);
	const unsigned char *l2 = all + (get64(l1) & (((uint64_t)1 << 56) - 1));
	uint64_t offset_mask = ((uint64_t)1 << 54) - 1;

	for (uint64_t i = 0; i + 1 < 4000; i++) {
		uint64_t entry = get64(l2 + i * 8);
		uint64_t next = get64(l2 + i * 8 + 8) & offset_mask;

		g_assert_cmpuint(entry >> 62, ==, 1);
		g_assert_cmpuint(((entry & offset_mask) >> 9) + (entry >> 54 & 255), ==,
				 (next - 1) >> 9);
	}
	image_source_free(encoder);
}

static void test_spill_fails(void)
{
	struct image_compression how = {.spill_dir = "/nonexistent", .spill_bound = 2};
	struct memory_disk *disk = marked_disk(MIB);
	GError *error = NULL;

	g_assert_null(image_source_new_qcow2_compressed(&disk->head, &how, &error));
	g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT);
	g_clear_error(&error);
}

static void expect_error(struct memory_disk *disk, struct image_compression how, int code)
{
	GError *error = NULL;

	g_assert_null(image_source_new_qcow2_compressed(&disk->head, &how, &error));
	g_assert_error(error, IMAGE_SOURCE_ERROR, code);
	g_clear_error(&error);
}

static void test_invalid(void)
{
	expect_error(marked_disk(8 * TIB + SECTOR), (struct image_compression){0},
		     IMAGE_SOURCE_ERROR_FAILED);
	expect_error(marked_disk(MIB), (struct image_compression){.level = 10},
		     IMAGE_SOURCE_ERROR_FAILED);
	expect_error(marked_disk(MIB), (struct image_compression){.level = -1},
		     IMAGE_SOURCE_ERROR_FAILED);
	expect_error(marked_disk(MIB), (struct image_compression){.zstd = true, .level = 99},
		     IMAGE_SOURCE_ERROR_FAILED);
}

static void test_cancelled(void)
{
	atomic_int cancel = 0;
	struct image_compression how = {.cancel = &cancel, .threads = 3};
	/* Too large to be encoded in time. */
	struct memory_disk *disk = marked_disk(4 * TIB);

	disk->special_read = 20;
	disk->special_sets = &cancel;
	expect_error(disk, how, IMAGE_SOURCE_ERROR_CANCELLED);
}

static void test_source_fails(void)
{
	struct memory_disk *disk = marked_disk(8 * MIB);
	g_autofree unsigned char *all = NULL;
	g_autofree unsigned char *second = NULL;
	struct image_compression how = {.threads = 2};
	struct image_source *encoder;
	GError *error = NULL;

	disk->special_read = 3;
	disk->special_fails = true;
	expect_error(disk, how, IMAGE_SOURCE_ERROR_DISCONNECTED);
	disk = marked_disk(8 * MIB);
	encoder = image_source_new_qcow2_compressed(&disk->head, &how, NULL);
	all = source_read_all(encoder, MIB);
	disk->special_read = disk->reads + 5;
	disk->special_fails = true;
	second = g_malloc(encoder->size);
	g_assert_cmpint(encoder->ops->read(encoder, 0, second, encoder->size, &error), ==, -1);
	g_assert_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED);
	g_clear_error(&error);
	g_assert_cmpint(encoder->ops->read(encoder, 0, second, encoder->size, NULL), ==, 0);
	g_assert_cmpmem(all, encoder->size, second, encoder->size);
	image_source_free(encoder);
}

static void test_disk_changes(void)
{
	struct memory_disk *disk = memory_disk_new(4 * MIB);
	struct image_compression how = {.threads = 2};
	struct image_source *encoder;
	g_autofree char *all = NULL;
	GError *error = NULL;

	disk->bytes = g_malloc0(4 * MIB);
	memset(disk->bytes, 'x', 4 * MIB);
	memory_disk_add_extent(disk, 0, 4 * MIB, true);
	encoder = image_source_new_qcow2_compressed(&disk->head, &how, NULL);
	memset(disk->bytes + MIB, 0, CLUSTER_SIZE);
	all = g_malloc(encoder->size);
	g_assert_cmpint(encoder->ops->read(encoder, 0, all, encoder->size, &error), ==, -1);
	g_assert_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED);
	g_assert_nonnull(strstr(error->message, "byte 1048576"));
	g_clear_error(&error);
	image_source_free(encoder);
}

/* A cluster that did not get smaller is read once more, but not compressed once more. */
static void test_random_is_not_compressed_again(gconstpointer zstd)
{
	struct memory_disk *disk = memory_disk_new(4 * MIB);
	struct image_compression how = {.zstd = zstd != NULL, .threads = 2};
	g_autoptr(GRand) rand = g_rand_new_with_seed(1);
	g_autofree unsigned char *all = NULL;
	struct image_source *encoder;
	GError *error = NULL;
	uint64_t data;

	disk->bytes = g_malloc(4 * MIB);
	fill_content(rand, disk->bytes, 4 * MIB, CONTENT_RANDOM);
	memory_disk_add_extent(disk, 0, 4 * MIB, true);
	encoder = image_source_new_qcow2_compressed(&disk->head, &how, NULL);
	data = encoder->size - 4 * MIB;
	memset(disk->bytes + MIB, 'x', CLUSTER_SIZE);
	all = source_read_all(encoder, MIB);
	g_assert_cmpmem(all + data, 4 * MIB, disk->bytes, 4 * MIB);
	memset(disk->bytes + MIB, 0, CLUSTER_SIZE);
	g_assert_cmpint(encoder->ops->read(encoder, 0, all, encoder->size, &error), ==, -1);
	g_assert_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED);
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
		g_test_message("%u threads: %.0f MiB to %.0f MiB; opened at %.0f MiB/s, read at "
			       "%.0f MiB/s; %" G_GUINT64_FORMAT " KiB resident",
			       threads, mib, (double)encoder->size / (double)MIB,
			       mib / (double)(middle - start) * 1e6,
			       mib / (double)(g_get_monotonic_time() - middle) * 1e6,
			       resident_memory() >> 10);
		image_source_free(encoder);
	}
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/compressed/sizes", test_sizes);
	g_test_add_func("/compressed/large", test_large);
	g_test_add_func("/compressed/spilled", test_spilled);
	g_test_add_func("/compressed/sector-counts", test_sector_counts);
	g_test_add_func("/compressed/spill-fails", test_spill_fails);
	g_test_add_func("/compressed/invalid", test_invalid);
	g_test_add_func("/compressed/cancelled", test_cancelled);
	g_test_add_func("/compressed/source-fails", test_source_fails);
	g_test_add_func("/compressed/disk-changes", test_disk_changes);
	g_test_add_data_func("/compressed/zlib/random-once", NULL,
			     test_random_is_not_compressed_again);
	g_test_add_data_func("/compressed/zstd/random-once", "",
			     test_random_is_not_compressed_again);
	g_test_add_data_func("/compressed/zlib/threads", NULL, test_same_for_any_threads);
	g_test_add_data_func("/compressed/zstd/threads", "", test_same_for_any_threads);
	g_test_add_data_func("/compressed/zlib/random-layouts", NULL, test_random_layouts);
	g_test_add_data_func("/compressed/zstd/random-layouts", "", test_random_layouts);
	if (!g_getenv("NOVASNAP_SPEED"))
		return g_test_run();
	g_test_add_data_func("/compressed/zlib/speed", NULL, test_speed);
	g_test_add_data_func("/compressed/zstd/speed", "", test_speed);
	return g_test_run();
}
