/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap record: writes copies of the messages sent to this host to a file, one JSON object per
 * line, for `novasnap replay`. It uses a separate queue, so the agent on this host still gets every
 * message.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/command/common.h"

static const struct command_help help = {
	.arguments = "FILE",
	.summary = "Writes copies of the messages sent to this host to the new file FILE, until "
		   "Ctrl-C, with their\ntokens removed. The agent on this host still gets the "
		   "messages. The file is for\n`novasnap replay` and `novasnap decode`.",
	.exit_status = "  0    the recording ended by --count or Ctrl-C\n"
		       "  1    the file exists or cannot be written, or the broker cannot be "
		       "reached\n" COMMAND_EXIT_USAGE,
	.example = "novasnap record --count 1 cast.jsonl",
};

struct recorder {
	GMainLoop *loop;
	FILE *file;
	const char *routing_key;
	gint64 began_us;
	atomic_uint left; /* number of messages still to record, unless `unlimited` */
	bool unlimited;
	bool json;
	unsigned recorded;  /* used only by the consuming thread */
	atomic_int problem; /* errno of a failed write; 0: none */
};

static gboolean end_recording(gpointer opaque)
{
	g_main_loop_quit(opaque);
	return G_SOURCE_CONTINUE;
}

/* From the loop itself: one that does not run yet could not be ended. */
static gboolean end_in_loop(gpointer opaque)
{
	g_main_loop_quit(opaque);
	return G_SOURCE_REMOVE;
}

/* The line for a message: when it arrived, in seconds since the start, and its body without
 * secrets. */
static char *format_line(const struct recorder *recorder, const cJSON *message)
{
	double at_s = (double)(g_get_monotonic_time() - recorder->began_us) / G_USEC_PER_SEC;
	cJSON *copy = cJSON_Duplicate(message, true);
	cJSON *line = cJSON_CreateObject();
	char *body;
	char *text;

	rpc_body_redact(copy);
	body = rpc_body_encode(copy);
	cJSON_AddNumberToObject(line, "at", at_s);
	cJSON_AddStringToObject(line, "routing_key", recorder->routing_key);
	cJSON_AddStringToObject(line, "body", body);
	text = cJSON_PrintUnformatted(line);
	cJSON_free(body);
	cJSON_Delete(line);
	cJSON_Delete(copy);
	return text;
}

static void report_message(struct recorder *recorder, const char *method)
{
	cJSON *object;

	recorder->recorded++;
	if (!recorder->json) {
		(void)fprintf(stderr, "recorded: %s\n", method ? method : "a message");
		return;
	}
	object = cJSON_CreateObject();
	cJSON_AddNumberToObject(object, "recorded", recorder->recorded);
	if (method)
		cJSON_AddStringToObject(object, "method", method);
	else
		cJSON_AddNullToObject(object, "method");
	command_print_json(object);
}

/* Called in the consuming thread. */
static void record_message(const char *event_type, const cJSON *message, void *opaque)
{
	struct recorder *recorder = opaque;
	const char *method =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(message, "method"));
	char *line;

	(void)event_type;
	if (!recorder->unlimited && atomic_load(&recorder->left) == 0)
		return;
	line = format_line(recorder, message);
	if (fprintf(recorder->file, "%s\n", line) < 0 || fflush(recorder->file) != 0)
		atomic_store(&recorder->problem, errno);
	cJSON_free(line);
	if (atomic_load(&recorder->problem) == 0)
		report_message(recorder, method);
	if (atomic_load(&recorder->problem) != 0 ||
	    (!recorder->unlimited && atomic_fetch_sub(&recorder->left, 1) == 1))
		(void)g_idle_add(end_in_loop, recorder->loop);
}

/* Only its owner may read the file: messages contain users' data. */
static FILE *create_file(const char *path, GError **error)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");

	if (!file)
		g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(errno),
			    "cannot create %s: %s", path, g_strerror(errno));
	return file;
}

static int record_messages(const struct config *config, const char *path, unsigned count, bool json,
			   GError **error)
{
	g_autofree char *key = g_strdup_printf("%s.%s", config->rpc.topic, config->rpc.host);
	const char *const keys[] = {key, NULL};
	struct recorder recorder = {.routing_key = key, .unlimited = count == 0, .json = json};
	struct rpc *rpc = NULL;
	int problem;
	int status = -1;

	recorder.file = create_file(path, error);
	if (!recorder.file)
		return -1;
	recorder.began_us = g_get_monotonic_time();
	recorder.loop = g_main_loop_new(NULL, FALSE);
	atomic_init(&recorder.left, count);
	atomic_init(&recorder.problem, 0);
	(void)g_unix_signal_add(SIGINT, end_recording, recorder.loop);
	(void)g_unix_signal_add(SIGTERM, end_recording, recorder.loop);
	(void)g_unix_signal_add(SIGHUP, end_recording, recorder.loop);
	rpc = rpc_open(&config->rpc, error);
	if (rpc && rpc_listen(rpc, keys, record_message, &recorder, error) == 0 &&
	    command_wait_ready(rpc, error) == 0) {
		(void)fprintf(stderr, "recording messages to %s in %s; press Ctrl-C to stop\n", key,
			      path);
		g_main_loop_run(recorder.loop);
		status = EXIT_SUCCESS;
	}
	rpc_close(rpc, 0);
	problem = fclose(recorder.file) != 0 ? errno : 0;
	if (atomic_load(&recorder.problem) != 0)
		problem = atomic_load(&recorder.problem);
	g_main_loop_unref(recorder.loop);
	/* The next attempt must be able to create it again. */
	if (status != EXIT_SUCCESS)
		(void)unlink(path);
	if (status == EXIT_SUCCESS && problem != 0) {
		g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(problem),
			    "cannot write to %s: %s; its last line is not complete", path,
			    g_strerror(problem));
		status = -1;
	}
	return status;
}

int command_record(const struct command_context *context, int argc, char **argv)
{
	int count = 0;
	gboolean json = FALSE;
	const GOptionEntry entries[] = {
		{"count", 0, 0, G_OPTION_ARG_INT, &count,
		 "End after this number of messages (default: 0, no limit)", "N"},
		{"json", 0, 0, G_OPTION_ARG_NONE, &json, COMMAND_JSON_LINES, NULL},
		G_OPTION_ENTRY_NULL,
	};
	g_autoptr(config_t) config = NULL;
	g_autoptr(GError) error = NULL;
	int status;

	if (!command_parse(&argc, &argv, entries, &help, &status))
		return status;
	if (argc != 2)
		return command_fail_usage("record", "name one file, which does not exist yet");
	if (count < 0)
		return command_fail_usage("record", "--count must not be negative");
	config = command_config(context, "record");
	if (!config)
		return EXIT_USAGE;
	status = record_messages(config, argv[1], (unsigned)count, json, &error);
	return status < 0 ? command_fail("record", error) : status;
}
