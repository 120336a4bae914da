/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads of a fragmented disk that are in flight at the same time. The server is nbdkit: its filters
 * delay each read and log when it begins and ends. The sanitizer checks that no read ends up in
 * memory that was freed.
 */
#include <errno.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "image/store/pipeline.h"
#include "tests/unit/disk.h"

#define DISK_SIZE (32 * MIB)
#define FRAGMENT CLUSTER_SIZE
#define READ_AHEAD_MIB 8

/* A running nbdkit that serves the disk, and its files. Fragments with data and fragments of zeros
 * alternate; each 8 bytes of data are their offset. */
struct served {
	char *folder;
	char *socket;
	char *extents;
	char *log;
	char *trigger; /* while this file exists, each read fails */
	atomic_int cancel;
	struct image_source *disk;
};

static void write_extents(const char *path)
{
	g_autoptr(GString) text = g_string_new(NULL);

	for (uint64_t at = 0; at < DISK_SIZE; at += FRAGMENT)
		g_string_append_printf(text, "%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "%s\n", at,
				       (uint64_t)FRAGMENT,
				       at / FRAGMENT % 2 == 0 ? "" : " hole,zero");
	g_assert_true(g_file_set_contents(path, text->str, -1, NULL));
}

static char *file_name(const struct served *served, const char *name)
{
	return g_build_filename(served->folder, name, NULL);
}

static void served_start(struct served *served, unsigned delay_ms)
{
	g_autofree char *delay = g_strdup_printf("rdelay=%ums", delay_ms);
	g_autofree char *extents = NULL;
	g_autofree char *log = NULL;
	g_autofree char *trigger = NULL;
	g_autoptr(GError) error = NULL;

	*served = (struct served){.folder = g_dir_make_tmp("novasnap-test-XXXXXX", NULL)};
	served->socket = file_name(served, "socket");
	served->extents = file_name(served, "extents");
	served->log = file_name(served, "log");
	served->trigger = file_name(served, "trigger");
	write_extents(served->extents);
	extents = g_strdup_printf("extentlist=%s", served->extents);
	log = g_strdup_printf("logfile=%s", served->log);
	trigger = g_strdup_printf("error-pread-file=%s", served->trigger);
	{
		const char *argv[] = {"nbdkit",
				      "--foreground",
				      "--threads=64",
				      "--filter=log",
				      "--filter=error",
				      "--filter=delay",
				      "--filter=extentlist",
				      "pattern",
				      "size=32M",
				      "error-pread=EIO",
				      "error-pread-rate=100%",
				      trigger,
				      delay,
				      extents,
				      log,
				      NULL};
		struct image_nbd nbd = {.socket = served->socket,
					.argv = argv,
					.export_name = "",
					.timeout_s = 30,
					.cancel = &served->cancel};

		served->disk = image_source_new_nbd(&nbd, &error);
	}
	g_assert_no_error(error);
	g_assert_cmpuint(served->disk->size, ==, DISK_SIZE);
}

struct read_counts {
	unsigned reads;
	unsigned in_flight_max;
	unsigned in_flight; /* at the end of the log */
};

static struct read_counts count_reads(const struct served *served)
{
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;
	struct read_counts counts = {0};

	g_assert_true(g_file_get_contents(served->log, &text, NULL, NULL));
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		if (strstr(*line, " ...Read id=")) {
			counts.in_flight--;
		} else if (strstr(*line, " Read id=")) {
			counts.reads++;
			counts.in_flight++;
			counts.in_flight_max = MAX(counts.in_flight_max, counts.in_flight);
		}
	}
	return counts;
}

/* Stops the server. `source` is the disk, or a source that owns it. Fails if the process is
 * left. */
static void served_stop(struct served *served, struct image_source *source)
{
	struct read_counts counts = count_reads(served);

	g_test_message("%u reads, at most %u in flight", counts.reads, counts.in_flight_max);
	image_source_free(source);
	g_assert_cmpint(waitpid(-1, NULL, WNOHANG), ==, -1);
	g_assert_cmpint(errno, ==, ECHILD);
	(void)g_unlink(served->extents);
	(void)g_unlink(served->log);
	(void)g_unlink(served->trigger);
	g_assert_cmpint(g_rmdir(served->folder), ==, 0);
	g_free(served->folder);
	g_free(served->socket);
	g_free(served->extents);
	g_free(served->log);
	g_free(served->trigger);
}

/* The bytes of the disk, as a raw image. The caller frees them. */
static unsigned char *expected_bytes(void)
{
	unsigned char *bytes = g_malloc0(DISK_SIZE);

	for (uint64_t at = 0; at < DISK_SIZE; at += 8) {
		uint64_t value = GUINT64_TO_BE(at);

		if (at / FRAGMENT % 2 == 0)
			memcpy(bytes + at, &value, sizeof(value));
	}
	return bytes;
}

static struct pipeline *start_pipeline(struct image_upload *upload, struct image_source *image)
{
	struct pipeline *pipeline;

	*upload = (struct image_upload){.source = image, .read_ahead_mib = READ_AHEAD_MIB};
	pipeline = pipeline_start(upload, NULL);
	g_assert_nonnull(pipeline);
	return pipeline;
}

/* Reads `size` bytes or until the end. Returns how many, or -1. */
static int64_t consume(struct pipeline *pipeline, unsigned char *to, uint64_t size, GError **error)
{
	uint64_t got = 0;

	while (got < size) {
		ssize_t n = pipeline_read(pipeline, to + got, size - got, error);

		if (n <= 0)
			return n < 0 ? -1 : (int64_t)got;
		got += (uint64_t)n;
	}
	return (int64_t)got;
}

static void check_complete(struct pipeline *pipeline)
{
	g_autofree unsigned char *expected = expected_bytes();
	g_autofree unsigned char *got = g_malloc(DISK_SIZE + 1);
	g_autofree char *hash = g_compute_checksum_for_data(G_CHECKSUM_SHA512, expected, DISK_SIZE);

	g_assert_cmpint(consume(pipeline, got, DISK_SIZE + 1, NULL), ==, DISK_SIZE);
	g_assert_cmpmem(got, DISK_SIZE, expected, DISK_SIZE);
	g_assert_cmpstr(pipeline_hash(pipeline), ==, hash);
}

static void test_raw_in_flight(void)
{
	struct served served;
	struct image_upload upload;
	struct image_source *image;
	struct pipeline *pipeline;

	served_start(&served, 30);
	image = image_source_new_raw(served.disk, NULL);
	pipeline = start_pipeline(&upload, image);
	check_complete(pipeline);
	pipeline_free(pipeline);
	g_assert_cmpuint(count_reads(&served).in_flight_max, >=, 24);
	served_stop(&served, image);
}

typedef struct image_source *(*image_new_fn)(struct image_source *disk);

static struct image_source *new_qcow2(struct image_source *disk)
{
	return image_source_new_qcow2(disk, NULL);
}

static struct image_source *new_scanned_qcow2(struct image_source *disk)
{
	disk = image_source_new_scanned(disk, NULL, NULL);
	g_assert_nonnull(disk);
	return image_source_new_qcow2(disk, NULL);
}

static struct image_source *new_compressed(struct image_source *disk)
{
	struct image_compression how = {.zstd = true, .threads = 2};

	return image_source_new_qcow2_compressed(disk, &how, NULL);
}

/* qemu-img compares the image with the disk. */
static void check_qcow2(image_new_fn image_new, unsigned in_flight_when_opened)
{
	struct image_files files = image_files_new();
	g_autofree unsigned char *expected = expected_bytes();
	g_autofree unsigned char *got = NULL;
	struct served served;
	struct image_upload upload;
	struct image_source *image;
	struct pipeline *pipeline;

	served_start(&served, 30);
	image = image_new(served.disk);
	g_assert_nonnull(image);
	g_assert_cmpuint(count_reads(&served).in_flight_max, >=, in_flight_when_opened);
	got = g_malloc(image->size);
	pipeline = start_pipeline(&upload, image);
	g_assert_cmpint(consume(pipeline, got, image->size, NULL), ==, image->size);
	pipeline_free(pipeline);
	g_assert_cmpuint(count_reads(&served).in_flight_max, >=, 16);
	g_assert_true(g_file_set_contents(files.plain, (char *)expected, DISK_SIZE, NULL));
	g_assert_true(g_file_set_contents(files.image, (char *)got, (gssize)image->size, NULL));
	image_files_check(&files);
	image_files_clear(&files);
	served_stop(&served, image);
}

static void test_qcow2_in_flight(void)
{
	check_qcow2(new_qcow2, 0);
}

static void test_scan_in_flight(void)
{
	check_qcow2(new_scanned_qcow2, 32);
}

static void test_compressed_in_flight(void)
{
	check_qcow2(new_compressed, 16);
}

/* Waits until the server has answered so many reads and no more follow. */
static void expect_reads(const struct served *served, unsigned wanted)
{
	gint64 until_us = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;
	struct read_counts counts;

	do {
		g_usleep(100 * 1000);
		counts = count_reads(served);
	} while ((counts.reads < wanted || counts.in_flight > 0) &&
		 g_get_monotonic_time() < until_us);
	g_usleep(200 * 1000);
	g_assert_cmpuint(count_reads(served).reads, ==, wanted);
}

/* Nothing more is read than fits into the read-ahead, and then as much as the store takes. */
static void test_pace_of_the_store(void)
{
	const unsigned reads_per_mib = MIB / FRAGMENT / 2;
	g_autofree unsigned char *got = g_malloc(3 * MIB);
	struct served served;
	struct image_upload upload;
	struct image_source *image;
	struct pipeline *pipeline;

	served_start(&served, 1);
	image = image_source_new_raw(served.disk, NULL);
	pipeline = start_pipeline(&upload, image);
	expect_reads(&served, READ_AHEAD_MIB * reads_per_mib);
	g_assert_cmpint(consume(pipeline, got, 3 * MIB, NULL), ==, 3 * MIB);
	expect_reads(&served, (READ_AHEAD_MIB + 3) * reads_per_mib);
	pipeline_free(pipeline);
	served_stop(&served, image);
}

static void test_error_in_the_middle(void)
{
	g_autofree unsigned char *got = g_malloc(DISK_SIZE);
	g_autoptr(GError) error = NULL;
	g_autoptr(GError) later = NULL;
	struct served served;
	struct image_upload upload;
	struct image_source *image;
	struct pipeline *pipeline;

	served_start(&served, 30);
	image = image_source_new_raw(served.disk, NULL);
	pipeline = start_pipeline(&upload, image);
	g_assert_cmpint(consume(pipeline, got, 3 * MIB, NULL), ==, 3 * MIB);
	g_assert_true(g_file_set_contents(served.trigger, "", 0, NULL));
	g_assert_cmpint(consume(pipeline, got, DISK_SIZE, &error), ==, -1);
	g_assert_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED);
	g_test_message("%s", error->message);
	g_assert_true(g_str_has_prefix(error->message, "reading the disk at byte "));
	g_assert_nonnull(strstr(error->message, g_strerror(EIO)));
	g_assert_null(pipeline_hash(pipeline));
	pipeline_free(pipeline);
	g_assert_cmpint(image->ops->read(image, 0, got, FRAGMENT, &later), ==, -1);
	g_assert_error(later, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED);
	served_stop(&served, image);
}

/* The process id of the only child of this process. */
static pid_t only_child(void)
{
	g_autofree char *path =
		g_strdup_printf("/proc/%d/task/%d/children", (int)getpid(), (int)getpid());
	g_autofree char *text = NULL;

	g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
	return (pid_t)strtol(text, NULL, 10);
}

static void test_server_killed_in_the_middle(void)
{
	g_autofree unsigned char *got = g_malloc(DISK_SIZE);
	g_autoptr(GError) error = NULL;
	struct served served;
	struct image_upload upload;
	struct image_source *image;
	struct pipeline *pipeline;

	served_start(&served, 30);
	image = image_source_new_raw(served.disk, NULL);
	pipeline = start_pipeline(&upload, image);
	g_assert_cmpint(consume(pipeline, got, 3 * MIB, NULL), ==, 3 * MIB);
	g_assert_cmpint(kill(only_child(), SIGKILL), ==, 0);
	g_assert_cmpint(consume(pipeline, got, DISK_SIZE, &error), ==, -1);
	g_assert_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED);
	g_test_message("%s", error->message);
	pipeline_free(pipeline);
	served_stop(&served, image);
}

/* A cancel does not wait for answers that take long. */
static void test_cancelled(void)
{
	g_autofree unsigned char *got = g_malloc(MIB);
	g_autoptr(GError) error = NULL;
	struct served served;
	struct image_upload upload;
	struct image_source *image;
	struct pipeline *pipeline;
	gint64 start_us;

	served_start(&served, 30 * 1000);
	image = image_source_new_raw(served.disk, NULL);
	start_us = g_get_monotonic_time();
	pipeline = start_pipeline(&upload, image);
	while (count_reads(&served).in_flight < 24 &&
	       g_get_monotonic_time() < start_us + 15 * G_USEC_PER_SEC)
		g_usleep(10 * 1000);
	g_assert_cmpuint(count_reads(&served).in_flight, >=, 24);
	start_us = g_get_monotonic_time();
	atomic_store(&served.cancel, 1);
	g_assert_cmpint(consume(pipeline, got, MIB, &error), ==, -1);
	g_assert_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_CANCELLED);
	pipeline_free(pipeline);
	g_assert_cmpint(g_get_monotonic_time() - start_us, <, 15 * G_USEC_PER_SEC);
	served_stop(&served, image);
}

/* An upload that is given up leaves the disk usable for the next attempt. */
static void test_next_attempt(void)
{
	g_autofree unsigned char *got = g_malloc(MIB);
	struct served served;
	struct image_upload upload;
	struct image_source *image;
	struct pipeline *pipeline;

	served_start(&served, 30);
	image = image_source_new_raw(served.disk, NULL);
	for (unsigned i = 0; i < 5; i++) {
		pipeline = start_pipeline(&upload, image);
		g_assert_cmpint(consume(pipeline, got, i * MIB / 4, NULL), ==, i * MIB / 4);
		pipeline_free(pipeline);
	}
	pipeline = start_pipeline(&upload, image);
	check_complete(pipeline);
	pipeline_free(pipeline);
	served_stop(&served, image);
}

/* The compressor and the zero scan end their reads, too. */
static void test_preparation_fails(void)
{
	for (unsigned i = 0; i < 4; i++) {
		struct image_compression how = {.zstd = true, .threads = 2};
		int expected = i < 2 ? IMAGE_SOURCE_ERROR_FAILED : IMAGE_SOURCE_ERROR_CANCELLED;
		g_autoptr(GError) error = NULL;
		struct served served;

		served_start(&served, 20);
		how.cancel = &served.cancel;
		if (i < 2)
			g_assert_true(g_file_set_contents(served.trigger, "", 0, NULL));
		else
			atomic_store(&served.cancel, 1);
		if (i % 2 == 0)
			served.disk = image_source_new_scanned(served.disk, NULL, &error);
		else
			served.disk = image_source_new_qcow2_compressed(served.disk, &how, &error);
		g_assert_null(served.disk);
		g_test_message("%s", error->message);
		g_assert_error(error, IMAGE_SOURCE_ERROR, expected);
		served_stop(&served, NULL);
	}
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/nbd-read-ahead/raw", test_raw_in_flight);
	g_test_add_func("/nbd-read-ahead/qcow2", test_qcow2_in_flight);
	g_test_add_func("/nbd-read-ahead/scan", test_scan_in_flight);
	g_test_add_func("/nbd-read-ahead/compressed", test_compressed_in_flight);
	g_test_add_func("/nbd-read-ahead/pace-of-the-store", test_pace_of_the_store);
	g_test_add_func("/nbd-read-ahead/error-in-the-middle", test_error_in_the_middle);
	g_test_add_func("/nbd-read-ahead/server-killed", test_server_killed_in_the_middle);
	g_test_add_func("/nbd-read-ahead/cancelled", test_cancelled);
	g_test_add_func("/nbd-read-ahead/next-attempt", test_next_attempt);
	g_test_add_func("/nbd-read-ahead/preparation-fails", test_preparation_fails);
	return g_test_run();
}
