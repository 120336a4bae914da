/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap record: copies of the messages that reach this host, one JSON a line, to be replayed.
 * They are taken from a queue of our own: whoever serves this host gets them as ever.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/command/command.h"

struct recorder {
	GMainLoop *loop;
	FILE *file;
	const char *key;
	gint64 began;
	atomic_uint left; /* how many more; 0 in `all` */
	bool all;
	atomic_bool failed;
};

static gboolean quit(gpointer opaque)
{
	g_main_loop_quit(opaque);
	return G_SOURCE_CONTINUE;
}

/* In the consuming thread. */
static void take(const char *event_type, const cJSON *message, void *opaque)
{
	struct recorder *recorder = opaque;
	cJSON *copy = cJSON_Duplicate(message, true);
	cJSON *line = cJSON_CreateObject();
	char *body;
	char *text;

	(void)event_type;
	if (!recorder->all && atomic_load(&recorder->left) == 0) {
		cJSON_Delete(copy);
		cJSON_Delete(line);
		return;
	}
	rpc_body_redact(copy);
	body = rpc_body_encode(copy);
	cJSON_AddNumberToObject(line, "at",
				(double)(g_get_monotonic_time() - recorder->began) / 1e6);
	cJSON_AddStringToObject(line, "routing_key", recorder->key);
	cJSON_AddStringToObject(line, "body", body);
	text = cJSON_PrintUnformatted(line);
	if (fprintf(recorder->file, "%s\n", text) < 0 || fflush(recorder->file) != 0)
		atomic_store(&recorder->failed, true);
	(void)fprintf(stderr, "recorded: %s\n",
		      cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(copy, "method")));
	cJSON_free(text);
	cJSON_free(body);
	cJSON_Delete(line);
	cJSON_Delete(copy);
	if (!recorder->all && atomic_fetch_sub(&recorder->left, 1) == 1)
		g_main_loop_quit(recorder->loop);
	if (atomic_load(&recorder->failed))
		g_main_loop_quit(recorder->loop);
}

/* For its owner alone: a cast holds what a user said. */
static FILE *open_file(const char *path, GError **error)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");

	if (!file)
		g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(errno),
			    "making %s: %s", path, g_strerror(errno));
	return file;
}

static int record(const struct config *config, const char *path, unsigned count, GError **error)
{
	g_autofree char *key = g_strdup_printf("%s.%s", config->rpc.topic, config->rpc.host);
	const char *const keys[] = {key, NULL};
	struct recorder recorder = {.key = key, .all = count == 0};
	struct rpc *rpc = NULL;
	int status = -1;

	recorder.file = open_file(path, error);
	if (!recorder.file)
		return -1;
	recorder.began = g_get_monotonic_time();
	recorder.loop = g_main_loop_new(NULL, FALSE);
	atomic_init(&recorder.left, count);
	(void)g_unix_signal_add(SIGINT, quit, recorder.loop);
	(void)g_unix_signal_add(SIGTERM, quit, recorder.loop);
	rpc = rpc_open(&config->rpc, error);
	if (rpc && rpc_listen(rpc, keys, take, &recorder, error) == 0 &&
	    command_wait_ready(rpc, error) == 0) {
		(void)fprintf(stderr, "recording what is sent to %s into %s; Ctrl-C ends it\n", key,
			      path);
		g_main_loop_run(recorder.loop);
		status = EXIT_SUCCESS;
	}
	rpc_close(rpc, 0);
	if (fclose(recorder.file) != 0 || atomic_load(&recorder.failed)) {
		g_clear_error(error);
		g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "writing %s failed", path);
		status = -1;
	}
	g_main_loop_unref(recorder.loop);
	return status;
}

int command_record(const struct command_context *context, int argc, char **argv)
{
	int count = 0;
	const GOptionEntry entries[] = {
		{"count", 0, 0, G_OPTION_ARG_INT, &count, "End after so many messages", "N"},
		G_OPTION_ENTRY_NULL,
	};
	g_autoptr(config_t) config = NULL;
	g_autoptr(GError) error = NULL;
	int status;

	if (command_parse(
		    &argc, &argv, entries, "FILE",
		    "Keeps copies of the messages that reach this host, their tokens cut out; "
		    "nothing is taken from whoever serves it.") < 0)
		return EXIT_USAGE;
	if (argc != 2 || count < 0) {
		(void)fprintf(stderr, "novasnap record: name one file; see --help\n");
		return EXIT_USAGE;
	}
	config = command_config(context, "record");
	if (!config)
		return EXIT_USAGE;
	status = record(config, argv[1], (unsigned)count, &error);
	return status < 0 ? command_fail("record", error) : status;
}
