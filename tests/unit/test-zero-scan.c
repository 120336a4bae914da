/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The source that looks for zeros: exactly the clusters with a byte other than zero are data.
 */
#include "tests/unit/disk.h"

/* Fills a data extent with up to 19 bytes at random offsets and perhaps its last one. */
static bool fill_sparse(GRand *rand, unsigned char *bytes, uint64_t length)
{
	bool data = g_rand_int_range(rand, 0, 4) > 0;
	unsigned count = data ? (unsigned)g_rand_int_range(rand, 0, 20) : 0;

	for (unsigned i = 0; i < count; i++)
		bytes[g_rand_int(rand) % length] = 0xff;
	if (count % 2 == 1)
		bytes[length - 1] = 1;
	return data;
}

struct expected {
	const unsigned char *bytes;
	uint64_t at;
};

/* Each extent starts where the one before it ended, and its clusters are as it says. */
static void check_extent(uint64_t offset, uint64_t length, bool data, void *opaque)
{
	struct expected *expected = opaque;

	g_assert_cmpuint(offset, ==, expected->at);
	g_assert_cmpuint(length, >, 0);
	expected->at += length;
	for (uint64_t at = 0; at < length; at += CLUSTER_SIZE) {
		bool zeros = true;

		for (uint64_t i = at; i < length && i < at + CLUSTER_SIZE; i++)
			zeros = zeros && expected->bytes[offset + i] == 0;
		g_assert_true(zeros == !data);
	}
}

static void check_scanned(struct memory_disk *disk, const struct image_files *files)
{
	uint64_t size = disk->head.size;
	g_autofree unsigned char *bytes = g_memdup2(disk->bytes, size);
	g_autofree unsigned char *got = NULL;
	struct expected expected = {.bytes = bytes};
	struct image_source *scanned;
	struct image_source *encoder;

	image_files_set_plain(files, disk);
	scanned = image_source_new_scanned(&disk->head, NULL, NULL);
	g_assert_nonnull(scanned);
	g_assert_cmpuint(scanned->size, ==, size);
	g_assert_cmpint(scanned->ops->extents(scanned, check_extent, &expected, NULL), ==, 0);
	g_assert_cmpuint(expected.at, ==, size);
	got = source_read_all(scanned, size);
	g_assert_cmpmem(got, size, bytes, size);
	encoder = image_source_new_qcow2(scanned, NULL);
	source_write_file(encoder, files->image, MIB);
	image_files_check(files);
	image_source_free(encoder);
}

static void test_random_layouts(void)
{
	GRand *rand = g_rand_new_with_seed((guint32)g_test_rand_int());
	struct image_files files = image_files_new();

	for (int i = 0; i < 20; i++)
		check_scanned(memory_disk_new_random(rand, 30000, 10, fill_sparse), &files);
	image_files_clear(&files);
	g_rand_free(rand);
}

/* Extents of zeros are not read, and data is read in pieces of 1 MiB. */
static void test_reads(void)
{
	struct memory_disk *disk = memory_disk_new(64 * MIB);
	struct image_source *scanned;

	memory_disk_add_extent(disk, 0, 16 * MIB, true);
	memory_disk_add_extent(disk, 16 * MIB, 40 * MIB, false);
	memory_disk_add_extent(disk, 56 * MIB, 8 * MIB, true);
	scanned = image_source_new_scanned(&disk->head, NULL, NULL);
	g_assert_nonnull(scanned);
	g_assert_cmpuint(disk->reads, ==, 24);
	g_assert_cmpuint(disk->reads_of_zeros, ==, 0);
	image_source_free(scanned);
}

/* The third read of a disk that is too large to be read in time sets the flag or fails. */
static void expect_error(bool cancels, int code)
{
	struct memory_disk *disk = memory_disk_new(4 * TIB);
	atomic_int cancel = 0;
	g_autoptr(GError) error = NULL;

	memory_disk_add_extent(disk, 0, 4 * TIB, true);
	disk->special_read = 3;
	disk->special_sets = cancels ? &cancel : NULL;
	disk->special_fails = !cancels;
	g_assert_null(image_source_new_scanned(&disk->head, &cancel, &error));
	g_assert_error(error, IMAGE_SOURCE_ERROR, code);
}

static void test_cancelled(void)
{
	expect_error(true, IMAGE_SOURCE_ERROR_CANCELLED);
}

static void test_source_fails(void)
{
	expect_error(false, IMAGE_SOURCE_ERROR_DISCONNECTED);
}

static void test_empty_disk(void)
{
	struct image_source *scanned =
		image_source_new_scanned(&memory_disk_new(0)->head, NULL, NULL);
	struct expected expected = {0};

	g_assert_nonnull(scanned);
	g_assert_cmpint(scanned->ops->extents(scanned, check_extent, &expected, NULL), ==, 0);
	image_source_free(scanned);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/zero-scan/random-layouts", test_random_layouts);
	g_test_add_func("/zero-scan/reads", test_reads);
	g_test_add_func("/zero-scan/cancelled", test_cancelled);
	g_test_add_func("/zero-scan/source-fails", test_source_fails);
	g_test_add_func("/zero-scan/empty-disk", test_empty_disk);
	return g_test_run();
}
