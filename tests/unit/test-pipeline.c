/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pipeline, which reads and hashes the source of an upload.
 */
#include "image/store/pipeline.h"
#include "tests/unit/upload.h"

#define SIZE ((uint64_t)9 * 1024 * 1024 + 123)

static void test_bytes_and_hash(void)
{
	struct pattern_source source = {{.ops = &pattern_source_ops, .size = SIZE}, 0};
	struct image_upload upload = {.source = &source.head};
	struct pipeline *pipeline = pipeline_start(&upload, NULL);
	g_autofree unsigned char *expected = g_malloc(SIZE);
	g_autofree char *hash = NULL;
	g_autofree unsigned char *got = g_malloc(SIZE);
	uint64_t at = 0;
	ssize_t n;

	g_assert_cmpint(pattern_source_read(&source.head, 0, expected, SIZE, NULL), ==, 0);
	hash = g_compute_checksum_for_data(G_CHECKSUM_SHA512, expected, SIZE);
	while ((n = pipeline_read(pipeline, got + at, MIN(70001, SIZE - at + 1), NULL)) > 0)
		at += (uint64_t)n;
	g_assert_cmpint(n, ==, 0);
	g_assert_cmpmem(got, at, expected, SIZE);
	g_assert_cmpstr(pipeline_hash(pipeline), ==, hash);
	pipeline_free(pipeline);
}

static void test_source_fails(void)
{
	struct pattern_source source = {{.ops = &pattern_source_ops, .size = SIZE}, SIZE - 10};
	struct image_upload upload = {.source = &source.head};
	struct pipeline *pipeline = pipeline_start(&upload, NULL);
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(pipeline_drain(pipeline, &error), ==, -1);
	g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_IO);
	g_assert_null(pipeline_hash(pipeline));
	pipeline_free(pipeline);
}

struct reported_checksum {
	atomic_int calls;
	bool fails; /* the callback returns an error */
	char hash[IMAGE_HASH_TEXT_SIZE];
};

static int take_checksum(void *opaque, const struct image_checksum *checksum, GError **error)
{
	struct reported_checksum *reported = opaque;

	/* Long enough for the consumer to read all blocks if it did not have to wait. */
	g_usleep(200 * 1000);
	g_assert_cmpstr(checksum->hash_name, ==, "sha512");
	g_assert_cmpuint(checksum->size, ==, SIZE);
	g_strlcpy(reported->hash, checksum->hash, sizeof(reported->hash));
	atomic_fetch_add(&reported->calls, 1);
	if (reported->fails)
		g_set_error_literal(error, G_FILE_ERROR, G_FILE_ERROR_NOSPC, "no space");
	return reported->fails ? -1 : 0;
}

/* The consumer gets the last byte only after the checksum was reported. */
static void check_checksum(bool fails)
{
	struct pattern_source source = {{.ops = &pattern_source_ops, .size = SIZE}, 0};
	struct reported_checksum reported = {.fails = fails};
	struct image_upload upload = {
		.source = &source.head, .checksum = take_checksum, .opaque = &reported};
	struct pipeline *pipeline = pipeline_start(&upload, NULL);
	g_autofree char *buffer = g_malloc(SIZE);
	g_autoptr(GError) error = NULL;
	uint64_t at = 0;
	ssize_t n;

	while ((n = pipeline_read(pipeline, buffer, SIZE, &error)) > 0) {
		at += (uint64_t)n;
		if (at == SIZE)
			g_assert_cmpint(atomic_load(&reported.calls), ==, 1);
	}
	g_assert_cmpint(atomic_load(&reported.calls), ==, 1);
	if (fails) {
		g_assert_cmpuint(at, <, SIZE);
		g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSPC);
	} else {
		g_assert_cmpuint(at, ==, SIZE);
		g_assert_cmpstr(pipeline_hash(pipeline), ==, reported.hash);
	}
	pipeline_free(pipeline);
}

static void test_checksum_precedes_last_byte(void)
{
	check_checksum(false);
}

static void test_checksum_fails(void)
{
	check_checksum(true);
}

static void test_freed_early(void)
{
	struct pattern_source source = {{.ops = &pattern_source_ops, .size = SIZE}, 0};
	struct image_upload upload = {.source = &source.head};

	pipeline_free(pipeline_start(&upload, NULL));
}

static void test_cancelled(void)
{
	struct pattern_source source = {{.ops = &pattern_source_ops, .size = SIZE}, 0};
	atomic_int cancel = 1;
	struct image_upload upload = {.source = &source.head, .cancel = &cancel};
	struct pipeline *pipeline = pipeline_start(&upload, NULL);
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(pipeline_drain(pipeline, &error), ==, -1);
	g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_CANCELLED);
	pipeline_free(pipeline);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/pipeline/bytes-and-hash", test_bytes_and_hash);
	g_test_add_func("/pipeline/source-fails", test_source_fails);
	g_test_add_func("/pipeline/checksum-precedes-last-byte", test_checksum_precedes_last_byte);
	g_test_add_func("/pipeline/checksum-fails", test_checksum_fails);
	g_test_add_func("/pipeline/freed-early", test_freed_early);
	g_test_add_func("/pipeline/cancelled", test_cancelled);
	return g_test_run();
}
