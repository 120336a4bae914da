/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pipeline, the directory store and the check of what a store says.
 */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "image/store/pipeline.h"
#include "image/store/record.h"

#define SIZE ((uint64_t)9 * 1024 * 1024 + 123)

/* A source of a pattern, which fails at a byte where it is told to. */
struct pattern_source {
	struct image_source head;
	uint64_t fails_at; /* 0: nowhere */
};

static int pattern_read(struct image_source *source, uint64_t offset, void *buf, size_t len,
			GError **error)
{
	struct pattern_source *pattern = (struct pattern_source *)source;
	unsigned char *bytes = buf;

	if (pattern->fails_at > 0 && offset + len > pattern->fails_at) {
		g_set_error_literal(error, G_FILE_ERROR, G_FILE_ERROR_IO, "the disk is broken");
		return -1;
	}
	for (size_t i = 0; i < len; i++)
		bytes[i] = (unsigned char)((offset + i) % 1000003 < 4096 ? (offset + i) % 251 : 0);
	return 0;
}

static const struct image_source_ops pattern_ops = {.read = pattern_read};

static void test_pipeline(void)
{
	struct pattern_source source = {{&pattern_ops, SIZE}, 0};
	struct image_upload upload = {.source = &source.head};
	struct pipeline *pipeline = pipeline_start(&upload, NULL);
	g_autofree unsigned char *expected = g_malloc(SIZE);
	g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA512);
	g_autofree unsigned char *got = g_malloc(SIZE);
	uint64_t at = 0;
	ssize_t n;

	g_assert_cmpint(pattern_read(&source.head, 0, expected, SIZE, NULL), ==, 0);
	g_checksum_update(checksum, expected, (gssize)SIZE);
	while ((n = pipeline_read(pipeline, got + at, MIN(70001, SIZE - at + 1), NULL)) > 0)
		at += (uint64_t)n;
	g_assert_cmpint(n, ==, 0);
	g_assert_cmpuint(at, ==, SIZE);
	g_assert_cmpint(memcmp(got, expected, SIZE), ==, 0);
	g_assert_cmpstr(pipeline_hash(pipeline), ==, g_checksum_get_string(checksum));
	pipeline_free(pipeline);
}

static void test_pipeline_fails(void)
{
	struct pattern_source source = {{&pattern_ops, SIZE}, SIZE - 10};
	struct image_upload upload = {.source = &source.head};
	struct pipeline *pipeline = pipeline_start(&upload, NULL);
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(pipeline_drain(pipeline, &error), ==, -1);
	g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_IO);
	g_assert_null(pipeline_hash(pipeline));
	pipeline_free(pipeline);
}

struct sealing {
	atomic_int calls;
	bool refuses;
	char hash[129];
};

static int note_checksum(void *opaque, const struct image_checksum *checksum, GError **error)
{
	struct sealing *sealing = opaque;

	/* Long enough for a consumer that does not wait for it to have all. */
	g_usleep(200 * 1000);
	g_assert_cmpstr(checksum->hash_name, ==, "sha512");
	g_assert_cmpuint(checksum->size, ==, SIZE);
	g_strlcpy(sealing->hash, checksum->hash, sizeof(sealing->hash));
	atomic_fetch_add(&sealing->calls, 1);
	if (sealing->refuses)
		g_set_error_literal(error, G_FILE_ERROR, G_FILE_ERROR_NOSPC, "no room for a note");
	return sealing->refuses ? -1 : 0;
}

/* The last byte is given out after the checksum was noted, and only then. */
static void test_pipeline_seals(gconstpointer refuses)
{
	struct pattern_source source = {{&pattern_ops, SIZE}, 0};
	struct sealing sealing = {.refuses = refuses != NULL};
	struct image_upload upload = {
		.source = &source.head, .checksum = note_checksum, .opaque = &sealing};
	struct pipeline *pipeline = pipeline_start(&upload, NULL);
	g_autofree char *buffer = g_malloc(SIZE);
	g_autoptr(GError) error = NULL;
	uint64_t at = 0;
	ssize_t n;

	while ((n = pipeline_read(pipeline, buffer, SIZE, &error)) > 0) {
		at += (uint64_t)n;
		if (at == SIZE)
			g_assert_cmpint(atomic_load(&sealing.calls), ==, 1);
	}
	g_assert_cmpint(atomic_load(&sealing.calls), ==, 1);
	if (refuses) {
		g_assert_cmpuint(at, <, SIZE);
		g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSPC);
	} else {
		g_assert_cmpuint(at, ==, SIZE);
		g_assert_cmpstr(pipeline_hash(pipeline), ==, sealing.hash);
	}
	pipeline_free(pipeline);
}

static void test_pipeline_is_left_early(void)
{
	struct pattern_source source = {{&pattern_ops, SIZE}, 0};
	atomic_int cancel;
	struct image_upload upload = {.source = &source.head};
	struct pipeline *pipeline = pipeline_start(&upload, NULL);
	g_autoptr(GError) error = NULL;

	pipeline_free(pipeline);
	atomic_init(&cancel, 1);
	upload.cancel = &cancel;
	pipeline = pipeline_start(&upload, NULL);
	g_assert_cmpint(pipeline_drain(pipeline, &error), ==, -1);
	g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_CANCELLED);
	pipeline_free(pipeline);
}

static void count_files(const char *folder, unsigned expected)
{
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	unsigned count = 0;

	while (g_dir_read_name(dir))
		count++;
	g_assert_cmpuint(count, ==, expected);
}

static void test_directory(void)
{
	static const char id[] = "5c4f2fbc-7ff7-4f4b-a7f6-5fbd2d9b0a11";
	g_autofree char *folder = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	struct image_config config = {.directory = true, .images_dir = folder};
	struct pattern_source source = {{&pattern_ops, SIZE}, SIZE - 10};
	struct image_upload upload = {.source = &source.head};
	struct image_meta meta = {.name = "n", .disk_format = "raw", .container_format = "bare"};
	struct image_identity who = {0};
	g_autofree char *path = g_build_filename(folder, id, NULL);
	g_autofree char *content = NULL;
	struct image_record *record;
	GError *error = NULL;
	gsize length;
	struct image_store *store = image_store_new(&config, &error);

	g_assert_no_error(error);
	g_assert_cmpint(image_store_get(store, &who, id, &record, &error), ==, -1);
	g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND);
	g_clear_error(&error);
	g_assert_cmpint(image_store_get(store, &who, "../../etc/passwd", &record, &error), ==, -1);
	g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED);
	g_clear_error(&error);

	g_assert_cmpint(image_store_update(store, &who, id, &meta, NULL), ==, 0);
	g_assert_cmpint(image_store_upload(store, &who, id, &upload, &error), ==, -1);
	g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_IO);
	g_clear_error(&error);
	count_files(folder, 1);

	source.fails_at = 0;
	g_assert_cmpint(image_store_upload(store, &who, id, &upload, &error), ==, 0);
	g_assert_cmpint(image_store_get(store, &who, id, &record, NULL), ==, 0);
	g_assert_cmpstr(record->status, ==, "active");
	g_assert_cmpint(record->size, ==, (gint64)SIZE);
	g_assert_cmpstr(record->os_hash_value, ==, upload.hash);
	image_record_free(record);
	g_assert_true(g_file_get_contents(path, &content, &length, NULL));
	g_assert_cmpuint(length, ==, SIZE);
	g_assert_cmpint(image_store_upload(store, &who, id, &upload, &error), ==, -1);
	g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_CONFLICT);
	g_clear_error(&error);
	count_files(folder, 2);

	g_assert_cmpint(image_store_delete(store, &who, id, NULL), ==, 0);
	count_files(folder, 0);
	image_store_free(store);
	g_assert_cmpint(g_rmdir(folder), ==, 0);
}

static void put_file(const char *folder, const char *name, const char *text)
{
	g_autofree char *path = g_build_filename(folder, name, NULL);

	g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

/* A folder of its own, with an image that waits for its data. */
struct kept {
	char *folder;
	struct image_config config;
	struct image_store *store;
	struct pattern_source source;
	struct image_upload upload;
};
#define KEPT "5c4f2fbc-7ff7-4f4b-a7f6-5fbd2d9b0a22"

static int update_kept(struct kept *kept, GError **error)
{
	struct image_meta meta = {.name = "n", .disk_format = "raw", .container_format = "bare"};
	struct image_identity who = {0};

	return image_store_update(kept->store, &who, KEPT, &meta, error);
}

static int upload_kept(struct kept *kept, GError **error)
{
	struct image_identity who = {0};

	return image_store_upload(kept->store, &who, KEPT, &kept->upload, error);
}

static int delete_kept(struct kept *kept, GError **error)
{
	struct image_identity who = {0};

	return image_store_delete(kept->store, &who, KEPT, error);
}

static void keep(struct kept *kept, gconstpointer unused)
{
	(void)unused;
	kept->folder = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	kept->config = (struct image_config){.directory = true, .images_dir = kept->folder};
	kept->store = image_store_new(&kept->config, NULL);
	kept->source = (struct pattern_source){{&pattern_ops, SIZE}, 0};
	kept->upload = (struct image_upload){.source = &kept->source.head};
	g_assert_cmpint(update_kept(kept, NULL), ==, 0);
}

static void keep_no_more(struct kept *kept, gconstpointer unused)
{
	(void)unused;
	image_store_free(kept->store);
	g_assert_cmpint(g_rmdir(kept->folder), ==, 0);
	g_free(kept->folder);
}

/* The next one takes what a killed writer left. */
static void test_parts_that_were_left(struct kept *kept, gconstpointer unused)
{
	g_autofree char *path = g_build_filename(kept->folder, KEPT, NULL);
	g_autofree char *long_text = g_strnfill(SIZE + 10, 'x');
	g_autofree char *wanted = g_malloc(SIZE);
	g_autofree char *content = NULL;
	gsize length;

	(void)unused;
	put_file(kept->folder, KEPT ".part", long_text);
	put_file(kept->folder, KEPT ".json.part", long_text);
	g_assert_cmpint(upload_kept(kept, NULL), ==, 0);
	count_files(kept->folder, 2);
	g_assert_cmpint(pattern_read(&kept->source.head, 0, wanted, SIZE, NULL), ==, 0);
	g_assert_true(g_file_get_contents(path, &content, &length, NULL));
	g_assert_cmpmem(content, length, wanted, SIZE);
	g_assert_cmpint(update_kept(kept, NULL), ==, 0);

	put_file(kept->folder, KEPT ".part", "some");
	put_file(kept->folder, KEPT ".json.part", "{}");
	g_assert_cmpint(delete_kept(kept, NULL), ==, 0);
	count_files(kept->folder, 0);
}

/* Neither a second one nor who deletes the image takes it from him. */
static void test_somebody_else_writes(struct kept *kept, gconstpointer unused)
{
	g_autofree char *part = g_build_filename(kept->folder, KEPT ".part", NULL);
	g_autofree char *content = NULL;
	g_autoptr(GError) error = NULL;
	int fd;

	(void)unused;
	put_file(kept->folder, KEPT ".part", "some");
	fd = open(part, O_RDWR | O_CLOEXEC);
	g_assert_cmpint(flock(fd, LOCK_EX | LOCK_NB), ==, 0);
	g_assert_cmpint(upload_kept(kept, &error), ==, -1);
	g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_CONFLICT);
	g_assert_nonnull(strstr(error->message, "another writer holds its lock"));
	g_clear_error(&error);
	g_assert_cmpint(delete_kept(kept, &error), ==, -1);
	g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_CONFLICT);
	g_assert_true(g_file_get_contents(part, &content, NULL, NULL));
	g_assert_cmpstr(content, ==, "some");
	count_files(kept->folder, 2);
	(void)close(fd);
	g_assert_cmpint(upload_kept(kept, NULL), ==, 0);
	g_assert_cmpint(delete_kept(kept, NULL), ==, 0);
}

static void test_part_that_leads_elsewhere(struct kept *kept, gconstpointer unused)
{
	g_autofree char *part = g_build_filename(kept->folder, KEPT ".part", NULL);
	g_autofree char *other = g_build_filename(kept->folder, "other", NULL);
	g_autofree char *content = NULL;
	g_autoptr(GError) error = NULL;

	(void)unused;
	put_file(kept->folder, "other", "some");
	g_assert_cmpint(symlink(other, part), ==, 0);
	g_assert_cmpint(upload_kept(kept, &error), ==, -1);
	g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED);
	g_assert_true(g_file_get_contents(other, &content, NULL, NULL));
	g_assert_cmpstr(content, ==, "some");
	g_assert_cmpint(g_unlink(part), ==, 0);
	g_assert_cmpint(g_unlink(other), ==, 0);
	g_assert_cmpint(delete_kept(kept, NULL), ==, 0);
}

static GPtrArray *list_backups(struct image_store *store, const char *instance)
{
	const struct image_property wanted[] = {
		{"image_type", "backup"}, {"instance_uuid", instance}, {NULL, NULL}};
	struct image_identity who = {0};
	g_autoptr(GError) error = NULL;
	GPtrArray *images = image_store_list(store, &who, wanted, &error);

	g_assert_no_error(error);
	return images;
}

/* What rotation goes by: no record is taken for another instance's, or for what it is not. */
static void test_directory_list(void)
{
#define ID(last) "5c4f2fbc-7ff7-4f4b-a7f6-5fbd2d9b0a1" last
#define RECORD(last, type, instance)                                                               \
	"{\"id\":\"" ID(last) "\",\"status\":\"active\",\"image_type\":" type                      \
			      ",\"instance_uuid\":\"" instance "\"}"
	static const struct {
		const char *name, *text;
	} files[] = {
		{ID("1") ".json", RECORD("1", "\"backup\"", "one")},
		{ID("2") ".json", RECORD("2", "\"backup\"", "other")},
		{ID("3") ".json", RECORD("3", "\"snapshot\"", "one")},
		{ID("4") ".json", RECORD("4", "7", "one")},
		{ID("5") ".json", "no JSON"},
		{ID("6") ".json", "{}"},
		{ID("7"), RECORD("7", "\"backup\"", "one")},
		{"other.json", RECORD("8", "\"backup\"", "one")},
		{ID("9") ".json.part", RECORD("9", "\"backup\"", "one")},
	};
	g_autofree char *folder = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	struct image_config config = {.directory = true, .images_dir = folder};
	struct image_store *store = image_store_new(&config, NULL);
	GPtrArray *images;

	for (size_t i = 0; i < G_N_ELEMENTS(files); i++)
		put_file(folder, files[i].name, files[i].text);
	images = list_backups(store, "one");
	g_assert_cmpuint(images->len, ==, 1);
	g_assert_cmpstr(((struct image_record *)images->pdata[0])->id, ==, ID("1"));
	g_ptr_array_unref(images);
	images = list_backups(store, "none");
	g_assert_cmpuint(images->len, ==, 0);
	g_ptr_array_unref(images);
	for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
		g_autofree char *path = g_build_filename(folder, files[i].name, NULL);

		(void)g_unlink(path);
	}
	image_store_free(store);
	g_assert_cmpint(g_rmdir(folder), ==, 0);
#undef RECORD
#undef ID
}

/* What is no file of a size is no image. */
static void test_file_source(void)
{
	g_autofree char *folder = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	g_autofree char *path = g_build_filename(folder, "image", NULL);
	g_autoptr(GError) error = NULL;
	struct image_source *source;
	char buffer[16];

	g_assert_null(image_source_new_file(path, &error));
	g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT);
	g_clear_error(&error);
	g_assert_null(image_source_new_file(folder, &error));
	g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_ISDIR);
	g_clear_error(&error);
	put_file(folder, "image", "0123456789");
	source = image_source_new_file(path, &error);
	g_assert_no_error(error);
	g_assert_cmpuint(source->size, ==, 10);
	g_assert_cmpint(source->ops->read(source, 4, buffer, 6, NULL), ==, 0);
	g_assert_cmpint(memcmp(buffer, "456789", 6), ==, 0);
	/* It is cut off while it is read. */
	g_assert_cmpint(truncate(path, 5), ==, 0);
	g_assert_cmpint(source->ops->read(source, 4, buffer, 6, &error), ==, -1);
	g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_IO);
	image_source_free(source);
	g_assert_cmpint(g_unlink(path), ==, 0);
	g_assert_cmpint(g_rmdir(folder), ==, 0);
}

static void check_verify(const char *document, bool well)
{
	const struct image_checksum sent = {.hash = "abcd", .hash_name = "sha512", .size = 10};
	struct image_record *record = image_record_parse(cJSON_Parse(document), NULL);
	g_autoptr(GError) error = NULL;

	g_assert_nonnull(record);
	g_assert_cmpint(image_record_verify(record, &sent, &error), ==, well ? 0 : -1);
	if (!well)
		g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_MISMATCH);
	image_record_free(record);
}

static void test_verify(void)
{
	check_verify("{\"id\":\"i\",\"status\":\"active\",\"size\":10,\"os_hash_algo\":\"sha512\","
		     "\"os_hash_value\":\"ABCD\"}",
		     true);
	check_verify("{\"id\":\"i\",\"status\":\"active\",\"size\":10,\"os_hash_algo\":\"sha256\","
		     "\"os_hash_value\":\"ee\"}",
		     true);
	check_verify("{\"id\":\"i\",\"status\":\"active\",\"size\":9}", false);
	check_verify("{\"id\":\"i\",\"status\":\"saving\",\"size\":10}", false);
	check_verify("{\"id\":\"i\",\"status\":\"active\",\"size\":10,\"os_hash_algo\":\"sha512\","
		     "\"os_hash_value\":\"abce\"}",
		     false);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/image/pipeline", test_pipeline);
	g_test_add_func("/image/pipeline-fails", test_pipeline_fails);
	g_test_add_data_func("/image/pipeline-seals", NULL, test_pipeline_seals);
	g_test_add_data_func("/image/pipeline-checksum-refused", "refused", test_pipeline_seals);
	g_test_add_func("/image/pipeline-left-early", test_pipeline_is_left_early);
	g_test_add_func("/image/directory", test_directory);
	g_test_add_func("/image/directory-list", test_directory_list);
#define TEST(name) g_test_add("/image/" #name, struct kept, NULL, keep, test_##name, keep_no_more)
	TEST(parts_that_were_left);
	TEST(somebody_else_writes);
	TEST(part_that_leads_elsewhere);
	g_test_add_func("/image/file-source", test_file_source);
	g_test_add_func("/image/verify", test_verify);
	return g_test_run();
}
