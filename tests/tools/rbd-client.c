/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls the functions of image/rbd.h for the tests: a command in each line of standard input, and
 * an answer in each line of standard output, as JSON.
 *   rbd-client PROGRAM CONF USER TIMEOUT_S     CONF and USER may be empty
 *   open | fsid | info P I [S] | snap_create P I S | snap_protect P I S | snap_remove P I S |
 *   clone P I S P I | flatten P I client|mgr | remove P I | close |
 *   source P I S | extents | export FILE | read OFFSET LENGTH | close_source | cancel MS
 */
#include <cjson/cJSON.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/rbd.h"

#define WORDS_MAX 6
#define CHUNK ((size_t)4 * 1024 * 1024)

static struct image_rbd_cluster cluster;
static atomic_int cancelled;
static struct image_rbd *rbd;
static struct image_source *source;
static cJSON *answer;

static const char *const codes[] = {"FAILED",	   "NO_PROGRAM", "CONFIG",	 "DENIED",
				    "NOT_FOUND",   "EXISTS",	 "BUSY",	 "FULL",
				    "UNSUPPORTED", "TIMEOUT",	 "DISCONNECTED", "CANCELLED"};

static void report_progress(void *opaque, uint64_t done, uint64_t total)
{
	(void)opaque;
	(void)printf("{\"progress\":[%" G_GUINT64_FORMAT ",%" G_GUINT64_FORMAT "]}\n", done, total);
	(void)fflush(stdout);
}

static int run_info(char **word, GError **error)
{
	struct image_rbd_info info;

	if (image_rbd_info_read(rbd, word[1], word[2], *word[3] ? word[3] : NULL, &info, error) < 0)
		return -1;
	(void)cJSON_AddNumberToObject(answer, "size", (double)info.size);
	if (info.parent_image) {
		g_autofree char *parent = g_strdup_printf("%s/%s@%s", info.parent_pool,
							  info.parent_image, info.parent_snap);

		(void)cJSON_AddStringToObject(answer, "parent", parent);
	}
	image_rbd_info_clear(&info);
	return 0;
}

struct walk {
	uint64_t data, extents, at;
	int fd;
	GError *error;
};

static void count_extent(uint64_t offset, uint64_t length, bool data, void *opaque)
{
	struct walk *walk = opaque;

	if (offset != walk->at)
		abort();
	walk->at += length;
	walk->data += data ? length : 0;
	walk->extents += data ? 1 : 0;
}

static int run_extents(GError **error)
{
	struct walk walk = {0};

	if (source->ops->extents(source, count_extent, &walk, error) < 0)
		return -1;
	if (walk.at != source->size)
		abort();
	(void)cJSON_AddNumberToObject(answer, "data", (double)walk.data);
	(void)cJSON_AddNumberToObject(answer, "extents", (double)walk.extents);
	return 0;
}

/* Reads with the next chunk in flight, as the pipeline does, by the raw encoder. */
static int run_export(const char *path, GError **error)
{
	g_autofree char *buffers = g_malloc(2 * CHUNK);
	gint64 begin_us = g_get_monotonic_time();
	struct image_read reads[2] = {{0}, {0}};
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644), rc = 0;
	struct image_source *raw = image_source_new_raw(g_steal_pointer(&source), error);
	uint64_t started = 0, written = 0;
	unsigned turn = 0;

	if (!raw)
		return -1;
	while (rc == 0 && written < raw->size) {
		while (rc == 0 && started < raw->size && started < written + 2 * CHUNK) {
			unsigned next = (unsigned)(started / CHUNK % 2);

			reads[next] = (struct image_read){0};
			rc = image_source_start(raw, &reads[next], started, buffers + next * CHUNK,
						(size_t)MIN(CHUNK, raw->size - started), error);
			started += CHUNK;
		}
		if (rc == 0)
			rc = image_source_finish(raw, &reads[turn], error);
		if (rc == 0 && fd >= 0) {
			size_t length = (size_t)MIN(CHUNK, raw->size - written);

			if (write(fd, buffers + turn * CHUNK, length) != (ssize_t)length)
				abort();
		}
		written += CHUNK;
		turn ^= 1;
	}
	for (unsigned i = 0; i < 2 && rc < 0; i++)
		(void)image_source_finish(raw, &reads[i], NULL);
	(void)close(fd);
	source = raw;
	(void)cJSON_AddNumberToObject(answer, "seconds",
				      (double)(g_get_monotonic_time() - begin_us) / 1e6);
	return rc;
}

/* Reads, and reports a checksum. */
static int run_read(uint64_t offset, size_t length, GError **error)
{
	g_autofree guchar *buffer = g_malloc(length);
	g_autofree char *sum = NULL;

	if (image_source_start_and_finish(source, offset, buffer, length, error) < 0)
		return -1;
	sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, buffer, length);
	(void)cJSON_AddStringToObject(answer, "sha256", sum);
	return 0;
}

static void *cancel_later(void *opaque)
{
	g_usleep(GPOINTER_TO_UINT(opaque) * 1000);
	atomic_store(&cancelled, 1);
	return NULL;
}

static int run_source_command(char **word, GError **error)
{
	if (g_str_equal(word[0], "extents"))
		return run_extents(error);
	if (g_str_equal(word[0], "export"))
		return run_export(word[1], error);
	if (g_str_equal(word[0], "read"))
		return run_read(strtoull(word[1], NULL, 10), strtoull(word[2], NULL, 10), error);
	if (g_str_equal(word[0], "close_source")) {
		image_source_free(g_steal_pointer(&source));
		return 0;
	}
	if (!g_str_equal(word[0], "source"))
		abort();
	source = image_source_new_rbd(&cluster, &cancelled, word[1], word[2], word[3], error);
	if (!source)
		return -1;
	(void)cJSON_AddNumberToObject(answer, "size", (double)source->size);
	return 0;
}

static int run_command(char **word, GError **error)
{
	if (g_str_equal(word[0], "cancel")) {
		g_thread_unref(g_thread_new("cancel", cancel_later,
					    GUINT_TO_POINTER((guint)strtoul(word[1], NULL, 10))));
		return 0;
	}
	if (g_str_equal(word[0], "open")) {
		rbd = image_rbd_open(&cluster, &cancelled, error);
		return rbd ? 0 : -1;
	}
	if (g_str_equal(word[0], "close")) {
		image_rbd_close(g_steal_pointer(&rbd));
		return 0;
	}
	if (g_str_equal(word[0], "fsid")) {
		(void)cJSON_AddStringToObject(answer, "fsid", image_rbd_fsid(rbd));
		return 0;
	}
	if (g_str_equal(word[0], "info"))
		return run_info(word, error);
	if (g_str_equal(word[0], "snap_create"))
		return image_rbd_snap_create(rbd, word[1], word[2], word[3], error);
	if (g_str_equal(word[0], "snap_protect"))
		return image_rbd_snap_protect(rbd, word[1], word[2], word[3], error);
	if (g_str_equal(word[0], "snap_remove"))
		return image_rbd_snap_remove(rbd, word[1], word[2], word[3], error);
	if (g_str_equal(word[0], "clone"))
		return image_rbd_clone(rbd, word[1], word[2], word[3], word[4], word[5], error);
	if (g_str_equal(word[0], "flatten"))
		return image_rbd_flatten(rbd, word[1], word[2], g_str_equal(word[3], "mgr"),
					 report_progress, NULL, error);
	if (g_str_equal(word[0], "remove_copy"))
		return image_rbd_remove_copy(rbd, word[1], word[2], error);
	return run_source_command(word, error);
}

static void run_line(char *line)
{
	char nothing[] = "";
	char *word[WORDS_MAX], *rest = g_strchomp(line);
	g_autofree char *text = NULL;
	g_autoptr(GError) error = NULL;

	for (int i = 0; i < WORDS_MAX; i++) {
		word[i] = strsep(&rest, " ");
		if (!word[i])
			word[i] = nothing;
	}
	answer = cJSON_CreateObject();
	if (run_command(word, &error) < 0) {
		bool ours = error->domain == IMAGE_RBD_ERROR;

		(void)cJSON_AddStringToObject(answer, "domain", g_quark_to_string(error->domain));
		(void)cJSON_AddStringToObject(answer, "error",
					      ours ? codes[error->code]
						   : (const char *[]){"FAILED", "DISCONNECTED",
								      "CANCELLED"}[error->code]);
		(void)cJSON_AddStringToObject(answer, "message", error->message);
	}
	(void)cJSON_AddTrueToObject(answer, "done");
	text = cJSON_PrintUnformatted(answer);
	(void)printf("%s\n", text);
	(void)fflush(stdout);
	cJSON_Delete(answer);
}

int main(int argc, char **argv)
{
	char line[4096];

	if (argc != 5) {
		(void)fprintf(stderr, "rbd-client PROGRAM CONF USER TIMEOUT_S\n");
		return 2;
	}
	cluster = (struct image_rbd_cluster){argv[1], argv[2], argv[3],
					     (unsigned)strtoul(argv[4], NULL, 10)};
	while (fgets(line, sizeof(line), stdin))
		run_line(line);
	image_source_free(source);
	image_rbd_close(rbd);
	return 0;
}
