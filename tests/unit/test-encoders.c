/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The encoders, judged by qemu-img: random disks with random extents become images that are clean
 * and identical. NOVASNAP_LAYOUTS says how many.
 */
#include <stdlib.h>

#include "tests/unit/disk.h"

/* Of a few sectors to a few hundred clusters, with edges anywhere. */
static struct memory *random_memory(GRand *rand)
{
	uint64_t size = 512 * (uint64_t)g_rand_int_range(rand, 1, 60000);
	struct memory *memory = memory_new(size);
	uint64_t at = 0;

	memory->bytes = g_malloc0(size);
	while (at < size) {
		uint64_t scale = (uint64_t)1 << g_rand_int_range(rand, 0, 12);
		uint64_t wanted = 512 * scale * (uint64_t)g_rand_int_range(rand, 1, 5);
		uint64_t length = MIN(size - at, wanted);
		bool data = g_rand_boolean(rand);

		for (uint64_t i = 0; data && i < length; i += 8)
			*(uint64_t *)(void *)(memory->bytes + at + i) =
				((uint64_t)g_rand_int(rand) << 32) | g_rand_int(rand);
		add_extent(memory, at, length, data);
		at += length;
	}
	return memory;
}

static void check_layout(GRand *rand, const char *folder)
{
	struct memory *memory = random_memory(rand);
	g_autofree char *plain = g_build_filename(folder, "plain", NULL);
	g_autofree char *image = g_build_filename(folder, "image", NULL);
	struct image_source *encoder;

	g_assert_true(
		g_file_set_contents(plain, (char *)memory->bytes, (gssize)memory->head.size, NULL));
	encoder = image_source_new_qcow2(&memory->head, NULL);
	g_assert_nonnull(encoder);
	/* Pieces that are no clusters come out the same. */
	store(encoder, image, (size_t)g_rand_int_range(rand, 1000, 300000));
	run_qemu_img("check -q -f qcow2", image, "");
	run_qemu_img("compare -q -f raw -F qcow2", plain, image);
	image_source_free(encoder);
}

static void test_random_layouts(void)
{
	const char *wanted = g_getenv("NOVASNAP_LAYOUTS");
	int layouts = wanted ? atoi(wanted) : 60;
	guint32 seed = (guint32)g_test_rand_int();
	GRand *rand = g_rand_new_with_seed(seed);
	g_autofree char *folder = g_dir_make_tmp("novasnap-encoders-XXXXXX", NULL);
	g_autofree char *plain = g_build_filename(folder, "plain", NULL);
	g_autofree char *image = g_build_filename(folder, "image", NULL);

	g_test_message("%d layouts", layouts);
	for (int i = 0; i < layouts; i++)
		check_layout(rand, folder);
	(void)g_unlink(plain);
	(void)g_unlink(image);
	(void)g_rmdir(folder);
	g_rand_free(rand);
}

static void test_raw(void)
{
	GRand *rand = g_rand_new_with_seed(7);

	for (int i = 0; i < 50; i++) {
		struct memory *memory = random_memory(rand);
		g_autofree unsigned char *expected = g_memdup2(memory->bytes, memory->head.size);
		g_autofree unsigned char *got = g_malloc(memory->head.size);
		struct image_source *raw = image_source_new_raw(&memory->head, NULL);

		g_assert_cmpuint(raw->size, ==, memory->head.size);
		g_assert_cmpint(raw->ops->read(raw, 0, got, raw->size, NULL), ==, 0);
		g_assert_cmpmem(got, raw->size, expected, memory->head.size);
		image_source_free(raw);
	}
	g_rand_free(rand);
}

static void expect_size(struct memory *memory, uint64_t clusters)
{
	struct image_source *encoder = image_source_new_qcow2(&memory->head, NULL);

	g_assert_nonnull(encoder);
	g_assert_cmpuint(encoder->size, ==, clusters << CLUSTER_BITS);
	image_source_free(encoder);
}

static void test_sizes(void)
{
	struct memory *memory = memory_new(0);

	/* Header, refcount table, refcount block, L1. */
	expect_size(memory, 4);
	memory = memory_new(MIB);
	add_extent(memory, 0, MIB, false);
	expect_size(memory, 4);
	memory = memory_new(MIB);
	add_extent(memory, 0, MIB, true);
	expect_size(memory, 4 + 1 + 16);
	memory = memory_new(512);
	add_extent(memory, 0, 512, true);
	expect_size(memory, 4 + 1 + 1);
	/* Two bytes of data, far apart: two L2 tables. */
	memory = memory_new(8 * TIB);
	add_extent(memory, 0, 512, true);
	add_extent(memory, 512, 8 * TIB - 1024, false);
	add_extent(memory, 8 * TIB - 512, 512, true);
	expect_size(memory, 1 + 1 + 1 + 2 + 2 + 2);
}

static void test_too_large(void)
{
	static const uint64_t sizes[] = {8 * TIB + 512, (uint64_t)1 << 62, INT64_MAX};

	for (size_t i = 0; i < 3 * G_N_ELEMENTS(sizes); i++) {
		struct memory *memory = memory_new(sizes[i / 3]);
		g_autoptr(GError) error = NULL;
		struct image_source *image;

		add_extent(memory, 0, sizes[i / 3], false);
		if (i % 3 == 0)
			image = image_source_new_qcow2(&memory->head, &error);
		else if (i % 3 == 1)
			image = image_source_new_raw(&memory->head, &error);
		else
			image = image_source_new_scanned(&memory->head, NULL, &error);
		g_assert_null(image);
		g_assert_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED);
	}
}

/* So much data that there are several refcount blocks: its tables alone are looked at. */
static void test_many_refcounts(void)
{
	uint64_t size = 20ULL << 30;
	struct memory *memory = memory_new(size);
	struct image_source *encoder;
	unsigned char header[104];
	uint64_t value;

	add_extent(memory, 0, size, true);
	encoder = image_source_new_qcow2(&memory->head, NULL);
	g_assert_nonnull(encoder);
	g_assert_cmpint(encoder->ops->read(encoder, 0, header, sizeof(header), NULL), ==, 0);
	memcpy(&value, header + 40, 8);
	/* 327680 of data, 40 of L2, 11 refcount blocks, header, L1, refcount table. */
	g_assert_cmpuint(encoder->size >> CLUSTER_BITS, ==, 327680 + 40 + 11 + 3);
	g_assert_cmpuint(GUINT64_FROM_BE(value) >> CLUSTER_BITS, ==, 1 + 1 + 11);
	image_source_free(encoder);
}

static void test_zeros_are_not_read(void)
{
	struct memory *memory = memory_new(64 * MIB);
	g_autofree char *buffer = g_malloc(MIB);
	struct image_source *raw;

	add_extent(memory, 0, 32 * MIB, true);
	add_extent(memory, 32 * MIB, 32 * MIB, false);
	raw = image_source_new_raw(&memory->head, NULL);
	for (uint64_t at = 0; at < raw->size; at += MIB)
		g_assert_cmpint(raw->ops->read(raw, at, buffer, MIB, NULL), ==, 0);
	g_assert_cmpuint(memory->reads_of_zeros, ==, 0);
	image_source_free(raw);
}

static void test_find_data(void)
{
	struct memory *memory = memory_new((GROUP * 3) << CLUSTER_BITS);
	struct clusters *clusters;

	add_extent(memory, 5 * CLUSTER, 2 * CLUSTER, true);
	add_extent(memory, (GROUP * 2 + 9) * CLUSTER, 200 * CLUSTER, true);
	clusters = clusters_new(&memory->head, NULL);
	g_assert_cmpuint(clusters_data_count(clusters), ==, 202);
	g_assert_cmpuint(clusters_find_data(clusters, 0), ==, 5);
	g_assert_cmpuint(clusters_find_data(clusters, 1), ==, 6);
	g_assert_cmpuint(clusters_find_data(clusters, 2), ==, GROUP * 2 + 9);
	g_assert_cmpuint(clusters_find_data(clusters, 201), ==, GROUP * 2 + 208);
	g_assert_false(clusters_has_data(clusters, 4));
	g_assert_false(clusters_has_data(clusters, GROUP * 9));
	clusters_free(clusters);
	image_source_free(&memory->head);
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
