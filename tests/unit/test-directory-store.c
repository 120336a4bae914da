/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The directory store.
 */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "tests/unit/upload.h"

#define SIZE ((uint64_t)9 * 1024 * 1024 + 123)
#define ID "5c4f2fbc-7ff7-4f4b-a7f6-5fbd2d9b0a22"

static const struct image_identity no_identity;

/* Each test gets an empty store and a source, and must leave the folder empty. */
struct fixture {
	char *folder;
	struct image_config config;
	struct image_store *store;
	struct pattern_source source;
	struct image_upload upload;
};

static void fixture_set_up(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fixture->folder = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	fixture->config = (struct image_config){.directory = true, .images_dir = fixture->folder};
	fixture->store = image_store_new(&fixture->config, NULL);
	g_assert_nonnull(fixture->store);
	fixture->source = (struct pattern_source){{.ops = &pattern_source_ops, .size = SIZE}, 0};
	fixture->upload = (struct image_upload){.source = &fixture->source.head};
}

static void fixture_tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	image_store_free(fixture->store);
	g_assert_cmpint(g_rmdir(fixture->folder), ==, 0);
	g_free(fixture->folder);
}

static int update_image(struct fixture *fixture)
{
	struct image_meta meta = {.name = "n", .disk_format = "raw", .container_format = "bare"};

	return image_store_update(fixture->store, &no_identity, ID, &meta, NULL);
}

static int upload_image(struct fixture *fixture, GError **error)
{
	return image_store_upload(fixture->store, &no_identity, ID, &fixture->upload, error);
}

static int delete_image(struct fixture *fixture, GError **error)
{
	return image_store_delete(fixture->store, &no_identity, ID, error);
}

static void expect_get_error(struct fixture *fixture, const char *id, int code)
{
	struct image_record *record;
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(image_store_get(fixture->store, &no_identity, id, &record, &error), ==, -1);
	g_assert_error(error, IMAGE_ERROR, code);
}

static void expect_file_count(const struct fixture *fixture, unsigned expected)
{
	g_autoptr(GDir) dir = g_dir_open(fixture->folder, 0, NULL);
	unsigned count = 0;

	while (g_dir_read_name(dir))
		count++;
	g_assert_cmpuint(count, ==, expected);
}

static void write_file(const struct fixture *fixture, const char *name, const char *text)
{
	g_autofree char *path = g_build_filename(fixture->folder, name, NULL);

	g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static void expect_file_text(const char *path, const char *expected)
{
	g_autofree char *text = NULL;

	g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
	g_assert_cmpstr(text, ==, expected);
}

/* The stored image has the bytes of the source. */
static void expect_image_bytes(struct fixture *fixture)
{
	g_autofree char *path = g_build_filename(fixture->folder, ID, NULL);
	g_autofree char *expected = g_malloc(SIZE);
	g_autofree char *bytes = NULL;
	gsize length;

	g_assert_cmpint(pattern_source_read(&fixture->source.head, 0, expected, SIZE, NULL), ==, 0);
	g_assert_true(g_file_get_contents(path, &bytes, &length, NULL));
	g_assert_cmpmem(bytes, length, expected, SIZE);
}

static void test_invalid_ids(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	expect_get_error(fixture, ID, IMAGE_ERROR_NOT_FOUND);
	expect_get_error(fixture, "../../etc/passwd", IMAGE_ERROR_FAILED);
}

static void test_upload(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) error = NULL;

	(void)unused;
	g_assert_cmpint(update_image(fixture), ==, 0);
	g_assert_cmpint(upload_image(fixture, NULL), ==, 0);
	g_assert_cmpint(image_store_get(fixture->store, &no_identity, ID, &record, NULL), ==, 0);
	g_assert_cmpstr(record->status, ==, "active");
	g_assert_cmpint(record->size, ==, (gint64)SIZE);
	g_assert_cmpstr(record->os_hash_value, ==, fixture->upload.hash);
	expect_image_bytes(fixture);
	/* An active image accepts no data. */
	g_assert_cmpint(upload_image(fixture, &error), ==, -1);
	g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_CONFLICT);
	expect_file_count(fixture, 2);
	g_assert_cmpint(delete_image(fixture, NULL), ==, 0);
}

/* Only the record is left, and the image can be uploaded after that. */
static void add_report(void *opaque, uint64_t sent, uint64_t total)
{
	g_assert_cmpuint(total, ==, SIZE);
	g_array_append_val((GArray *)opaque, sent);
}

/* The first report is of no bytes: the rate of an upload counts from there. */
static void test_progress(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GArray) reports = g_array_new(FALSE, FALSE, sizeof(uint64_t));
	g_autoptr(GError) error = NULL;

	(void)unused;
	fixture->upload.progress = add_report;
	fixture->upload.opaque = reports;
	g_assert_cmpint(update_image(fixture), ==, 0);
	g_assert_cmpint(upload_image(fixture, &error), ==, 0);
	g_assert_no_error(error);
	g_assert_cmpuint(reports->len, >, 2);
	g_assert_cmpuint(g_array_index(reports, uint64_t, 0), ==, 0);
	for (guint i = 1; i < reports->len; i++)
		g_assert_cmpuint(g_array_index(reports, uint64_t, i), >,
				 g_array_index(reports, uint64_t, i - 1));
	g_assert_cmpuint(g_array_index(reports, uint64_t, reports->len - 1), ==, SIZE);
	g_assert_cmpint(delete_image(fixture, &error), ==, 0);
	g_assert_no_error(error);
}

static void test_upload_fails(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;

	(void)unused;
	g_assert_cmpint(update_image(fixture), ==, 0);
	fixture->source.fails_at = SIZE - 10;
	g_assert_cmpint(upload_image(fixture, &error), ==, -1);
	g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_IO);
	expect_file_count(fixture, 1);
	fixture->source.fails_at = 0;
	g_assert_cmpint(upload_image(fixture, NULL), ==, 0);
	g_assert_cmpint(delete_image(fixture, NULL), ==, 0);
}

/* Part files that a killed process left behind. */
static void test_leftover_parts(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *long_text = g_strnfill(SIZE + 10, 'x');

	(void)unused;
	g_assert_cmpint(update_image(fixture), ==, 0);
	write_file(fixture, ID ".part", long_text);
	write_file(fixture, ID ".json.part", long_text);
	g_assert_cmpint(upload_image(fixture, NULL), ==, 0);
	expect_file_count(fixture, 2);
	expect_image_bytes(fixture);
	g_assert_cmpint(update_image(fixture), ==, 0);

	write_file(fixture, ID ".part", "some");
	write_file(fixture, ID ".json.part", "{}");
	g_assert_cmpint(delete_image(fixture, NULL), ==, 0);
	expect_file_count(fixture, 0);
}

/* While another writer holds the lock, the image can be neither uploaded nor deleted. */
static void test_other_writer(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *part = g_build_filename(fixture->folder, ID ".part", NULL);
	g_autoptr(GError) error = NULL;
	int fd;

	(void)unused;
	g_assert_cmpint(update_image(fixture), ==, 0);
	write_file(fixture, ID ".part", "some");
	fd = open(part, O_RDWR | O_CLOEXEC);
	g_assert_cmpint(flock(fd, LOCK_EX | LOCK_NB), ==, 0);
	g_assert_cmpint(upload_image(fixture, &error), ==, -1);
	g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_CONFLICT);
	g_assert_nonnull(strstr(error->message, "another writer holds its lock"));
	g_clear_error(&error);
	g_assert_cmpint(delete_image(fixture, &error), ==, -1);
	g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_CONFLICT);
	expect_file_text(part, "some");
	expect_file_count(fixture, 2);
	(void)close(fd);
	g_assert_cmpint(upload_image(fixture, NULL), ==, 0);
	g_assert_cmpint(delete_image(fixture, NULL), ==, 0);
}

/* A part file that is a symbolic link to another file. */
static void test_part_is_link(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *part = g_build_filename(fixture->folder, ID ".part", NULL);
	g_autofree char *other = g_build_filename(fixture->folder, "other", NULL);
	g_autoptr(GError) error = NULL;

	(void)unused;
	g_assert_cmpint(update_image(fixture), ==, 0);
	write_file(fixture, "other", "some");
	g_assert_cmpint(symlink(other, part), ==, 0);
	g_assert_cmpint(upload_image(fixture, &error), ==, -1);
	g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED);
	expect_file_text(other, "some");
	g_assert_cmpint(g_unlink(part), ==, 0);
	g_assert_cmpint(g_unlink(other), ==, 0);
	g_assert_cmpint(delete_image(fixture, NULL), ==, 0);
}

/* If the data cannot be deleted, the record stays, so that the deletion can be repeated. */
static void test_delete_fails(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *path = g_build_filename(fixture->folder, ID, NULL);
	g_autoptr(GError) error = NULL;

	(void)unused;
	g_assert_cmpint(update_image(fixture), ==, 0);
	g_assert_cmpint(g_mkdir(path, 0700), ==, 0);
	g_assert_cmpint(delete_image(fixture, &error), ==, -1);
	g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED);
	expect_file_count(fixture, 2);
	g_assert_cmpint(g_rmdir(path), ==, 0);
	g_assert_cmpint(delete_image(fixture, NULL), ==, 0);
}

/* Lists the backups of an instance. There must be `count`, and the first one must have this id. */
static void expect_backups(struct fixture *fixture, const char *instance, guint count,
			   const char *id)
{
	const struct image_property wanted[] = {
		{"image_type", "backup"}, {"instance_uuid", instance}, {NULL, NULL}};
	g_autoptr(GError) error = NULL;
	GPtrArray *images = image_store_list(fixture->store, &no_identity, wanted, &error);

	g_assert_no_error(error);
	g_assert_cmpuint(images->len, ==, count);
	if (count > 0)
		g_assert_cmpstr(((struct image_record *)images->pdata[0])->id, ==, id);
	g_ptr_array_unref(images);
}

/* Rotation deletes what is listed. So images of other instances, images that are not backups, and
 * files that are not records must not be listed. */
static void test_list(struct fixture *fixture, gconstpointer unused)
{
#define LISTED(last) "5c4f2fbc-7ff7-4f4b-a7f6-5fbd2d9b0a1" last
#define RECORD(last, type, instance)                                                               \
	"{\"id\":\"" LISTED(last) "\",\"status\":\"active\",\"image_type\":" type                  \
				  ",\"instance_uuid\":\"" instance "\"}"
	static const struct {
		const char *name, *text;
	} files[] = {
		{LISTED("1") ".json", RECORD("1", "\"backup\"", "one")},
		{LISTED("2") ".json", RECORD("2", "\"backup\"", "other")},
		{LISTED("3") ".json", RECORD("3", "\"snapshot\"", "one")},
		{LISTED("4") ".json", RECORD("4", "7", "one")},
		{LISTED("5") ".json", "not JSON"},
		{LISTED("6") ".json", "{}"},
		{LISTED("7"), RECORD("7", "\"backup\"", "one")},
		{"other.json", RECORD("8", "\"backup\"", "one")},
		{LISTED("9") ".json.part", RECORD("9", "\"backup\"", "one")},
	};

	(void)unused;
	for (size_t i = 0; i < G_N_ELEMENTS(files); i++)
		write_file(fixture, files[i].name, files[i].text);
	expect_backups(fixture, "one", 1, LISTED("1"));
	expect_backups(fixture, "none", 0, NULL);
	for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
		g_autofree char *path = g_build_filename(fixture->folder, files[i].name, NULL);

		(void)g_unlink(path);
	}
#undef RECORD
#undef LISTED
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
#define ADD_TEST(path, function)                                                                   \
	g_test_add("/directory-store/" path, struct fixture, NULL, fixture_set_up, function,       \
		   fixture_tear_down)
	ADD_TEST("invalid-ids", test_invalid_ids);
	ADD_TEST("upload", test_upload);
	ADD_TEST("progress", test_progress);
	ADD_TEST("upload-fails", test_upload_fails);
	ADD_TEST("leftover-parts", test_leftover_parts);
	ADD_TEST("other-writer", test_other_writer);
	ADD_TEST("part-is-link", test_part_is_link);
	ADD_TEST("delete-fails", test_delete_fails);
	ADD_TEST("list", test_list);
	return g_test_run();
}
