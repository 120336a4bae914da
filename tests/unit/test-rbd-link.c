/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * image/rbd: what novasnapd does with frames that are cut off, too long or wrong. The child is a
 * stand-in: a shell script that sends prepared bytes.
 */
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

#include "image/rbd.h"
#include "image/rbd/frame.h"

#define TIMEOUT_S 1

static char *folder;

static void append(GByteArray *bytes, const char *json, size_t data_length)
{
	struct rbd_frame_lengths lengths = {(uint32_t)strlen(json), (uint32_t)data_length};
	uint8_t head[RBD_FRAME_HEAD_SIZE];
	g_autofree uint8_t *data = g_malloc0(data_length + 1);

	rbd_frame_write_head(head, &lengths);
	g_byte_array_append(bytes, head, sizeof(head));
	g_byte_array_append(bytes, (const uint8_t *)json, lengths.json);
	g_byte_array_append(bytes, data, (guint)data_length);
}

/* Makes the stand-in that sends these bytes, and then ends, or waits. */
static char *make_program(const GByteArray *bytes, bool waits)
{
	char *program = g_build_filename(folder, "child", NULL);
	g_autofree char *answer = g_build_filename(folder, "answer", NULL);
	g_autofree char *script = g_strdup_printf("#!/bin/sh\ncat %s >&0\n%s\n", answer,
						  waits ? "exec sleep 60" : "");

	g_assert_true(
		g_file_set_contents(answer, (const char *)bytes->data, (gssize)bytes->len, NULL));
	g_assert_true(g_file_set_contents(program, script, -1, NULL));
	g_assert_cmpint(g_chmod(program, 0700), ==, 0);
	return program;
}

static GByteArray *hello(void)
{
	GByteArray *bytes = g_byte_array_new();

	append(bytes, "{\"protocol\":1}", 0);
	append(bytes, "{\"fsid\":\"f\"}", 0);
	return bytes;
}

/* Opens the stand-in, asks it for an image, and returns the error of what failed first. */
static GError *error_of(GByteArray *bytes, bool waits)
{
	g_autofree char *program = make_program(bytes, waits);
	struct image_rbd_cluster cluster = {.program = program, .timeout_s = TIMEOUT_S};
	GError *error = NULL;
	struct image_rbd *rbd = image_rbd_open(&cluster, NULL, &error);
	struct image_rbd_info info;

	g_byte_array_unref(bytes);
	if (rbd && image_rbd_info_read(rbd, "p", "i", NULL, &info, &error) == 0) {
		g_assert_cmpuint(info.size, ==, 4096);
		image_rbd_info_clear(&info);
	}
	image_rbd_close(rbd);
	return error;
}

static void expect(GByteArray *bytes, bool waits, int code, const char *words)
{
	g_autoptr(GError) error = error_of(bytes, waits);

	g_assert_error(error, IMAGE_RBD_ERROR, code);
	if (!strstr(error->message, words))
		g_error("\"%s\" does not say \"%s\"", error->message, words);
}

static void test_good_answer(void)
{
	GByteArray *bytes = hello();

	append(bytes, "{\"progress\":true}", 0);
	append(bytes, "{\"size\":4096}", 0);
	g_assert_null(error_of(bytes, true));
}

static void test_no_answer(void)
{
	expect(hello(), true, IMAGE_RBD_ERROR_TIMEOUT, "no answer");
	expect(g_byte_array_new(), true, IMAGE_RBD_ERROR_TIMEOUT, "no answer");
}

/* Cut off at each byte: the child has died. */
static void test_truncated(void)
{
	g_autoptr(GByteArray) whole = hello();
	guint begin = whole->len;

	append(whole, "{\"size\":4096}", 0);
	for (guint length = begin; length < whole->len; length++) {
		GByteArray *bytes = g_byte_array_new();

		g_byte_array_append(bytes, whole->data, length);
		expect(bytes, false, IMAGE_RBD_ERROR_DISCONNECTED, "ended unexpectedly");
	}
	expect(g_byte_array_new(), false, IMAGE_RBD_ERROR_NO_PROGRAM, "ended unexpectedly");
}

static void append_head(GByteArray *bytes, uint32_t json, uint32_t data)
{
	struct rbd_frame_lengths lengths = {json, data};
	uint8_t head[RBD_FRAME_HEAD_SIZE];

	rbd_frame_write_head(head, &lengths);
	g_byte_array_append(bytes, head, sizeof(head));
}

static void test_lengths(void)
{
	static const uint32_t lengths[][2] = {
		{0, 0},
		{RBD_FRAME_JSON_MAX + 1, 0},
		{UINT32_MAX, UINT32_MAX},
		{1, RBD_FRAME_DATA_MAX + 1},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
		GByteArray *bytes = hello();

		append_head(bytes, lengths[i][0], lengths[i][1]);
		expect(bytes, true, IMAGE_RBD_ERROR_DISCONNECTED, "invalid length");
	}
}

static void test_garbage(void)
{
	static const char *const texts[] = {"x", "{", "[1]", "{}x", "{\"size\":4096}}", "\"size\""};
	static const char *const sizes[] = {"{\"size\":-1}", "{\"size\":1e30}", "{\"size\":1.5}",
					    "{\"size\":\"1\"}", "{}"};
	GByteArray *bytes;

	for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
		bytes = hello();
		append(bytes, texts[i], 0);
		expect(bytes, true, IMAGE_RBD_ERROR_DISCONNECTED, "not JSON");
	}
	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		bytes = hello();
		append(bytes, sizes[i], 0);
		expect(bytes, true, IMAGE_RBD_ERROR_DISCONNECTED, "no size");
	}
	bytes = hello();
	append(bytes, "{\"size\":4096}", 100);
	expect(bytes, true, IMAGE_RBD_ERROR_DISCONNECTED, "not asked for");
}

static void test_hello(void)
{
	GByteArray *bytes = g_byte_array_new();

	append(bytes, "{\"protocol\":77}", 0);
	expect(bytes, true, IMAGE_RBD_ERROR_NO_PROGRAM, "protocol 77");
	bytes = g_byte_array_new();
	append(bytes, "{\"protocol\":1}", 0);
	append(bytes, "{}", 0);
	expect(bytes, true, IMAGE_RBD_ERROR_DISCONNECTED, "no id of the cluster");
}

static void test_errors(void)
{
	GByteArray *bytes = hello();

	append(bytes, "{\"error\":\"it is full\",\"code\":7}", 0);
	expect(bytes, true, IMAGE_RBD_ERROR_FULL, "it is full");
	bytes = hello();
	append(bytes, "{\"error\":\"odd\",\"code\":99}", 0);
	expect(bytes, true, IMAGE_RBD_ERROR_DISCONNECTED, "without a code");
}

/* What the child sends after that of hello() to a source of 4096 bytes. */
static struct image_source *open_source(GByteArray *bytes)
{
	g_autofree char *program = make_program(bytes, true);
	struct image_rbd_cluster cluster = {.program = program, .timeout_s = TIMEOUT_S};
	GError *error = NULL;
	struct image_source *source = image_source_new_rbd(&cluster, NULL, "p", "i", "s", &error);

	g_assert_no_error(error);
	g_byte_array_unref(bytes);
	return source;
}

static GByteArray *hello_source(void)
{
	GByteArray *bytes = hello();

	append(bytes, "{\"size\":4096}", 0);
	return bytes;
}

static void expect_read(GByteArray *bytes, int code, const char *words)
{
	g_autoptr(image_source_t) source = open_source(bytes);
	g_autoptr(GError) error = NULL;
	char buffer[4096];

	g_assert_cmpint(source->ops->read(source, 0, buffer, sizeof(buffer), &error), ==, -1);
	g_assert_error(error, IMAGE_SOURCE_ERROR, code);
	if (!strstr(error->message, words))
		g_error("\"%s\" does not say \"%s\"", error->message, words);
}

static void test_reads(void)
{
	static const struct {
		const char *json;
		size_t data;
		int code;
		const char *words;
	} answers[] = {
		{"{\"id\":0}", 4095, IMAGE_SOURCE_ERROR_DISCONNECTED, "not asked for"},
		{"{\"id\":0}", 4097, IMAGE_SOURCE_ERROR_DISCONNECTED, "not asked for"},
		{"{\"id\":0}", 0, IMAGE_SOURCE_ERROR_DISCONNECTED, "no data"},
		{"{\"id\":1}", 4096, IMAGE_SOURCE_ERROR_DISCONNECTED, "not asked for"},
		{"{\"id\":16}", 0, IMAGE_SOURCE_ERROR_DISCONNECTED, "no request"},
		{"{\"id\":0,\"errno\":5}", 0, IMAGE_SOURCE_ERROR_FAILED, "Input/output error"},
		{"{\"error\":\"odd\",\"code\":0}", 0, IMAGE_SOURCE_ERROR_FAILED, "odd"},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(answers); i++) {
		GByteArray *bytes = hello_source();

		append(bytes, answers[i].json, answers[i].data);
		expect_read(bytes, answers[i].code, answers[i].words);
	}
	expect_read(hello_source(), IMAGE_SOURCE_ERROR_DISCONNECTED, "no answer");
}

static void count_extent(uint64_t offset, uint64_t length, bool data, void *opaque)
{
	(void)offset;
	*(uint64_t *)opaque += data ? length : 0;
}

static void test_extents(void)
{
	/* Two extents each: offset, length. */
	static const uint64_t extents[][4] = {
		{0, 1024, 2048, 2048}, /* valid */
		{1024, 1024, 1024, 1024}, {2048, 1024, 0, 1024}, {0, 4096, 4096, 1},
		{0, 0, 1024, 1024},	  {0, 5000, 0, 0},	 {1024, UINT64_MAX, 0, 0},
		{5000, 1, 0, 0},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(extents); i++) {
		GByteArray *bytes = hello_source();
		g_autoptr(GError) error = NULL;
		g_autoptr(image_source_t) source = NULL;
		uint64_t data = 0;
		int rc;

		append(bytes, "{\"extents\":2}", 2 * RBD_EXTENT_SIZE);
		rbd_frame_write_extent(bytes->data + bytes->len - 2 * RBD_EXTENT_SIZE,
				       extents[i][0], extents[i][1]);
		rbd_frame_write_extent(bytes->data + bytes->len - RBD_EXTENT_SIZE, extents[i][2],
				       extents[i][3]);
		append(bytes, "{}", 0);
		source = open_source(bytes);
		rc = source->ops->extents(source, count_extent, &data, &error);
		g_assert_cmpint(rc, ==, i == 0 ? 0 : -1);
		if (i == 0)
			g_assert_cmpuint(data, ==, 3072);
		else
			g_assert_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED);
	}
}

static void test_no_program(void)
{
	struct image_rbd_cluster cluster = {.program = "/nonexistent/novasnap-rbd", .timeout_s = 1};
	g_autoptr(GError) error = NULL;

	g_assert_null(image_rbd_open(&cluster, NULL, &error));
	g_assert_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_NO_PROGRAM);
	g_assert_nonnull(strstr(error->message, "install the package novasnap-rbd"));
}

/* A dead child: later calls fail at once. */
static void test_after_death(void)
{
	g_autoptr(GByteArray) bytes = hello();
	g_autofree char *program = make_program(bytes, true);
	struct image_rbd_cluster cluster = {.program = program, .timeout_s = TIMEOUT_S};
	g_autoptr(image_rbd_t) rbd = image_rbd_open(&cluster, NULL, NULL);
	g_autoptr(GError) error = NULL;

	g_assert_nonnull(rbd);
	g_assert_cmpint(image_rbd_remove_copy(rbd, "p", "i", &error), ==, -1);
	g_assert_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_TIMEOUT);
	g_clear_error(&error);
	g_assert_cmpint(image_rbd_remove_copy(rbd, "p", "i", &error), ==, -1);
	g_assert_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_DISCONNECTED);
}

static void test_cancelled(void)
{
	g_autoptr(GByteArray) bytes = hello();
	g_autofree char *program = make_program(bytes, true);
	struct image_rbd_cluster cluster = {.program = program, .timeout_s = 60};
	atomic_int cancel = 0;
	g_autoptr(image_rbd_t) rbd = image_rbd_open(&cluster, &cancel, NULL);
	g_autoptr(GError) error = NULL;
	gint64 begin_us = g_get_monotonic_time();

	g_assert_nonnull(rbd);
	atomic_store(&cancel, 1);
	g_assert_cmpint(image_rbd_remove_copy(rbd, "p", "i", &error), ==, -1);
	g_assert_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_CANCELLED);
	g_assert_cmpint(g_get_monotonic_time() - begin_us, <, 3 * G_USEC_PER_SEC);
}

int main(int argc, char **argv)
{
	g_autofree char *command = NULL;
	int rc;

	g_test_init(&argc, &argv, NULL);
	folder = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	g_assert_nonnull(folder);
	g_test_add_func("/rbd-link/good-answer", test_good_answer);
	g_test_add_func("/rbd-link/no-answer", test_no_answer);
	g_test_add_func("/rbd-link/truncated", test_truncated);
	g_test_add_func("/rbd-link/lengths", test_lengths);
	g_test_add_func("/rbd-link/garbage", test_garbage);
	g_test_add_func("/rbd-link/hello", test_hello);
	g_test_add_func("/rbd-link/errors", test_errors);
	g_test_add_func("/rbd-link/reads", test_reads);
	g_test_add_func("/rbd-link/extents", test_extents);
	g_test_add_func("/rbd-link/no-program", test_no_program);
	g_test_add_func("/rbd-link/after-death", test_after_death);
	g_test_add_func("/rbd-link/cancelled", test_cancelled);
	rc = g_test_run();
	command = g_strdup_printf("rm -r '%s'", folder);
	g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
	g_free(folder);
	return rc;
}
