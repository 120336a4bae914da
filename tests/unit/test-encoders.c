/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The encoders without compression. qemu-img checks the images of random disks, whose number
 * NOVASNAP_LAYOUTS sets.
 */
#include "tests/unit/disk.h"

static bool fill_random(GRand *rand, unsigned char *bytes, uint64_t length)
{
	bool data = g_rand_boolean(rand);

	for (uint64_t i = 0; data && i < length; i += 8)
		*(uint64_t *)(void *)(bytes + i) =
			((uint64_t)g_rand_int(rand) << 32) | g_rand_int(rand);
	return data;
}

static struct memory_disk *random_disk(GRand *rand)
{
	return memory_disk_new_random(rand, 60000, 11, fill_random);
}

static void check_layout(GRand *rand, const struct image_files *files)
{
	struct memory_disk *disk = random_disk(rand);
	struct image_source *encoder;

	image_files_set_plain(files, disk);
	encoder = image_source_new_qcow2(&disk->head, NULL);
	g_assert_nonnull(encoder);
	/* Pieces that are not clusters give the same image. */
	source_write_file(encoder, files->image, (size_t)g_rand_int_range(rand, 1000, 300000));
	image_files_check(files);
	image_source_free(encoder);
}

static void test_random_layouts(void)
{
	int layouts = random_layouts(60);
	GRand *rand = g_rand_new_with_seed((guint32)g_test_rand_int());
	struct image_files files = image_files_new();

	g_test_message("%d layouts", layouts);
	for (int i = 0; i < layouts; i++)
		check_layout(rand, &files);
	image_files_clear(&files);
	g_rand_free(rand);
}

static void test_raw(void)
{
	GRand *rand = g_rand_new_with_seed(7);

	for (int i = 0; i < 50; i++) {
		struct memory_disk *disk = random_disk(rand);
		uint64_t size = disk->head.size;
		g_autofree unsigned char *expected = g_memdup2(disk->bytes, size);
		struct image_source *raw = image_source_new_raw(&disk->head, NULL);
		g_autofree unsigned char *got = NULL;

		g_assert_cmpuint(raw->size, ==, size);
		got = source_read_all(raw, size);
		g_assert_cmpmem(got, size, expected, size);
		image_source_free(raw);
	}
	g_rand_free(rand);
}

/* The image has so many clusters. */
static void expect_clusters(struct memory_disk *disk, uint64_t clusters)
{
	struct image_source *encoder = image_source_new_qcow2(&disk->head, NULL);

	g_assert_nonnull(encoder);
	g_assert_cmpuint(encoder->size, ==, clusters << CLUSTER_BITS);
	image_source_free(encoder);
}

static void expect_clusters_of_extent(uint64_t size, bool data, uint64_t clusters)
{
	struct memory_disk *disk = memory_disk_new(size);

	memory_disk_add_extent(disk, 0, size, data);
	expect_clusters(disk, clusters);
}

static void test_sizes(void)
{
	struct memory_disk *disk;

	/* Header, refcount table, refcount block and L1 table; L2 table; data. */
	expect_clusters(memory_disk_new(0), 4);
	expect_clusters_of_extent(MIB, false, 4);
	expect_clusters_of_extent(MIB, true, 4 + 1 + 16);
	expect_clusters_of_extent(SECTOR, true, 4 + 1 + 1);
	/* The first and the last sector of the largest disk: two clusters of L1 table, two L2
	 * tables, and two clusters of data. */
	disk = memory_disk_new(8 * TIB);
	memory_disk_add_extent(disk, 0, SECTOR, true);
	memory_disk_add_extent(disk, SECTOR, 8 * TIB - 2 * SECTOR, false);
	memory_disk_add_extent(disk, 8 * TIB - SECTOR, SECTOR, true);
	expect_clusters(disk, 1 + 1 + 1 + 2 + 2 + 2);
}

static struct image_source *new_scanned(struct image_source *disk, GError **error)
{
	return image_source_new_scanned(disk, NULL, error);
}

typedef struct image_source *(*encoder_new_fn)(struct image_source *disk, GError **error);

static void test_too_large(void)
{
	static const uint64_t sizes[] = {8 * TIB + SECTOR, (uint64_t)1 << 62, INT64_MAX};
	static const encoder_new_fn encoders[] = {image_source_new_qcow2, image_source_new_raw,
						  new_scanned};

	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		for (size_t j = 0; j < G_N_ELEMENTS(encoders); j++) {
			struct memory_disk *disk = memory_disk_new(sizes[i]);
			g_autoptr(GError) error = NULL;

			memory_disk_add_extent(disk, 0, sizes[i], false);
			g_assert_null(encoders[j](&disk->head, &error));
			g_assert_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED);
		}
	}
}

/* With 20 GiB of data there are several refcount blocks. Only the header is read. */
static void test_many_refcounts(void)
{
	uint64_t size = 20ULL << 30;
	struct memory_disk *disk = memory_disk_new(size);
	struct image_source *encoder;
	unsigned char header[104];
	uint64_t l1_offset;

	memory_disk_add_extent(disk, 0, size, true);
	encoder = image_source_new_qcow2(&disk->head, NULL);
	g_assert_nonnull(encoder);
	g_assert_cmpint(encoder->ops->read(encoder, 0, header, sizeof(header), NULL), ==, 0);
	memcpy(&l1_offset, header + 40, sizeof(l1_offset));
	/* Data; L2 tables; refcount blocks; header, L1 table, refcount table. */
	g_assert_cmpuint(encoder->size >> CLUSTER_BITS, ==, 327680 + 40 + 11 + 3);
	g_assert_cmpuint(GUINT64_FROM_BE(l1_offset) >> CLUSTER_BITS, ==, 1 + 1 + 11);
	image_source_free(encoder);
}

static void test_zeros_are_not_read(void)
{
	struct memory_disk *disk = memory_disk_new(64 * MIB);
	struct image_source *raw;

	memory_disk_add_extent(disk, 0, 32 * MIB, true);
	memory_disk_add_extent(disk, 32 * MIB, 32 * MIB, false);
	raw = image_source_new_raw(&disk->head, NULL);
	g_free(source_read_all(raw, MIB));
	g_assert_cmpuint(disk->reads_of_zeros, ==, 0);
	image_source_free(raw);
}

static void test_find_data(void)
{
	uint64_t group = CLUSTER_GROUP_SIZE;
	struct memory_disk *disk = memory_disk_new((group * 3) << CLUSTER_BITS);
	struct cluster_map *clusters;

	memory_disk_add_extent(disk, 5 * CLUSTER_SIZE, 2 * CLUSTER_SIZE, true);
	memory_disk_add_extent(disk, (group * 2 + 9) * CLUSTER_SIZE, 200 * CLUSTER_SIZE, true);
	clusters = cluster_map_new(&disk->head, NULL);
	g_assert_cmpuint(cluster_map_data_count(clusters), ==, 202);
	g_assert_cmpuint(cluster_map_find_data(clusters, 0), ==, 5);
	g_assert_cmpuint(cluster_map_find_data(clusters, 1), ==, 6);
	g_assert_cmpuint(cluster_map_find_data(clusters, 2), ==, group * 2 + 9);
	g_assert_cmpuint(cluster_map_find_data(clusters, 201), ==, group * 2 + 208);
	g_assert_false(cluster_map_has_data(clusters, 4));
	g_assert_false(cluster_map_has_data(clusters, group * 9));
	cluster_map_free(clusters);
	image_source_free(&disk->head);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/encoders/sizes", test_sizes);
	g_test_add_func("/encoders/too-large", test_too_large);
	g_test_add_func("/encoders/many-refcounts", test_many_refcounts);
	g_test_add_func("/encoders/find-data", test_find_data);
	g_test_add_func("/encoders/zeros-are-not-read", test_zeros_are_not_read);
	g_test_add_func("/encoders/raw", test_raw);
	g_test_add_func("/encoders/qcow2-random-layouts", test_random_layouts);
	return g_test_run();
}
