/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The source that looks for zeros: what it calls data is what is not all zeros, cluster by cluster.
 */
#include "tests/unit/disk.h"

/* Data extents with zeros in them: single sectors of a cluster, its last byte, or none. */
static struct memory *zeroed_memory(GRand *rand)
{
	uint64_t size = 512 * (uint64_t)g_rand_int_range(rand, 1, 30000);
	struct memory *memory = memory_new(size);
	uint64_t at = 0;

	memory->bytes = g_malloc0(size);
	while (at < size) {
		uint64_t wanted = 512 * (uint64_t)g_rand_int_range(rand, 1, 4000);
		uint64_t length = MIN(size - at, wanted);
		bool data = g_rand_int_range(rand, 0, 4) > 0;
		unsigned bytes = data ? (unsigned)g_rand_int_range(rand, 0, 20) : 0;

		for (unsigned i = 0; i < bytes; i++)
			memory->bytes[at + g_rand_int(rand) % length] = 0xff;
		if (bytes % 2 == 1)
			memory->bytes[at + length - 1] = 1;
		add_extent(memory, at, length, data);
		at += length;
	}
	return memory;
}

struct seen {
	const unsigned char *bytes;
	uint64_t at;
};

/* Each extent begins where the one before it ended, and its clusters are as it says. */
static void see(uint64_t offset, uint64_t length, bool data, void *opaque)
{
	struct seen *seen = opaque;

	g_assert_cmpuint(offset, ==, seen->at);
	g_assert_cmpuint(length, >, 0);
	seen->at += length;
	for (uint64_t at = 0; at < length; at += CLUSTER) {
		bool zeros = true;

		for (uint64_t i = at; i < length && i < at + CLUSTER; i++)
			zeros = zeros && seen->bytes[offset + i] == 0;
		g_assert_true(zeros == !data);
	}
}

static void check_scanned(struct memory *memory, const char *plain, const char *image)
{
	g_autofree unsigned char *bytes = g_memdup2(memory->bytes, memory->head.size);
	g_autofree unsigned char *got = g_malloc(memory->head.size);
	uint64_t size = memory->head.size;
	struct seen seen = {.bytes = bytes};
	struct image_source *scanned = image_source_new_scanned(&memory->head, NULL, NULL);
	struct image_source *encoder;

	g_assert_nonnull(scanned);
	g_assert_cmpuint(scanned->size, ==, size);
	g_assert_cmpint(scanned->ops->extents(scanned, see, &seen, NULL), ==, 0);
	g_assert_cmpuint(seen.at, ==, size);
	g_assert_cmpint(scanned->ops->read(scanned, 0, got, size, NULL), ==, 0);
	g_assert_cmpmem(got, size, bytes, size);
	g_assert_true(g_file_set_contents(plain, (char *)bytes, (gssize)size, NULL));
	encoder = image_source_new_qcow2(scanned, NULL);
	store(encoder, image, MIB);
	run_qemu_img("check -q -f qcow2", image, "");
	run_qemu_img("compare -q -f raw -F qcow2", plain, image);
	image_source_free(encoder);
}

static void test_random(void)
{
	GRand *rand = g_rand_new_with_seed((guint32)g_test_rand_int());
	g_autofree char *folder = g_dir_make_tmp("novasnap-zeros-XXXXXX", NULL);
	g_autofree char *plain = g_build_filename(folder, "plain", NULL);
	g_autofree char *image = g_build_filename(folder, "image", NULL);

	for (int i = 0; i < 20; i++)
		check_scanned(zeroed_memory(rand), plain, image);
	(void)g_unlink(plain);
	(void)g_unlink(image);
	(void)g_rmdir(folder);
	g_rand_free(rand);
}

/* What the source says to be zeros is not read, the rest in pieces of a MiB. */
static void test_reads(void)
{
	struct memory *memory = memory_new(64 * MIB);
	struct image_source *scanned;

	add_extent(memory, 0, 16 * MIB, true);
	add_extent(memory, 16 * MIB, 40 * MIB, false);
	add_extent(memory, 56 * MIB, 8 * MIB, true);
	scanned = image_source_new_scanned(&memory->head, NULL, NULL);
	g_assert_nonnull(scanned);
	g_assert_cmpuint(memory->reads, ==, 24);
	g_assert_cmpuint(memory->reads_of_zeros, ==, 0);
	image_source_free(scanned);
}

static void refuse(bool cancels, int code)
{
	struct memory *memory = memory_new(4 * TIB);
	atomic_int cancel = 0;
	GError *error = NULL;

	add_extent(memory, 0, 4 * TIB, true);
	memory->special = 3;
	memory->cancel = cancels ? &cancel : NULL;
	memory->fails = !cancels;
	g_assert_null(image_source_new_scanned(&memory->head, &cancel, &error));
	g_assert_error(error, IMAGE_SOURCE_ERROR, code);
	g_clear_error(&error);
}

static void test_refused(void)
{
	refuse(true, IMAGE_SOURCE_ERROR_CANCELLED);
	refuse(false, IMAGE_SOURCE_ERROR_DISCONNECTED);
}

static void test_empty(void)
{
	struct image_source *scanned = image_source_new_scanned(&memory_new(0)->head, NULL, NULL);
	struct seen seen = {0};

	g_assert_nonnull(scanned);
	g_assert_cmpint(scanned->ops->extents(scanned, see, &seen, NULL), ==, 0);
	image_source_free(scanned);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/zero-scan/random", test_random);
	g_test_add_func("/zero-scan/reads", test_reads);
	g_test_add_func("/zero-scan/refused", test_refused);
	g_test_add_func("/zero-scan/empty", test_empty);
	return g_test_run();
}
