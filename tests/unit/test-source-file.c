/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The image source that is a regular file.
 */
#include <glib/gstdio.h>
#include <unistd.h>

#include "image/source.h"

/* Each test gets a folder and the path of a file in it, which does not exist yet. */
struct fixture {
	char *folder;
	char *path;
};

static void fixture_set_up(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fixture->folder = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	fixture->path = g_build_filename(fixture->folder, "image", NULL);
}

static void fixture_tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	(void)g_unlink(fixture->path);
	g_assert_cmpint(g_rmdir(fixture->folder), ==, 0);
	g_free(fixture->path);
	g_free(fixture->folder);
}

static void expect_error(const char *path, int code)
{
	g_autoptr(GError) error = NULL;

	g_assert_null(image_source_new_file(path, &error));
	g_assert_error(error, G_FILE_ERROR, code);
}

/* Opens a file of ten digits. */
static struct image_source *open_digits(const struct fixture *fixture)
{
	struct image_source *source;

	g_assert_true(g_file_set_contents(fixture->path, "0123456789", -1, NULL));
	source = image_source_new_file(fixture->path, NULL);
	g_assert_nonnull(source);
	return source;
}

static void test_missing(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	expect_error(fixture->path, G_FILE_ERROR_NOENT);
}

static void test_not_a_regular_file(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	expect_error(fixture->folder, G_FILE_ERROR_ISDIR);
	expect_error("/dev/null", G_FILE_ERROR_INVAL);
}

static void test_read(struct fixture *fixture, gconstpointer unused)
{
	struct image_source *source = open_digits(fixture);
	char buffer[6];

	(void)unused;
	g_assert_cmpuint(source->size, ==, 10);
	g_assert_cmpint(source->ops->read(source, 4, buffer, sizeof(buffer), NULL), ==, 0);
	g_assert_cmpmem(buffer, sizeof(buffer), "456789", 6);
	image_source_free(source);
}

static void test_truncated_while_open(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;
	struct image_source *source = open_digits(fixture);
	char buffer[6];

	(void)unused;
	g_assert_cmpint(truncate(fixture->path, 5), ==, 0);
	g_assert_cmpint(source->ops->read(source, 4, buffer, sizeof(buffer), &error), ==, -1);
	g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_IO);
	image_source_free(source);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
#define ADD_TEST(path, function)                                                                   \
	g_test_add("/source-file/" path, struct fixture, NULL, fixture_set_up, function,           \
		   fixture_tear_down)
	ADD_TEST("missing", test_missing);
	ADD_TEST("not-a-regular-file", test_not_a_regular_file);
	ADD_TEST("read", test_read);
	ADD_TEST("truncated-while-open", test_truncated_while_open);
	return g_test_run();
}
