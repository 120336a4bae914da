/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap replay: sends recorded casts again, or executes them in this process.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/command/cast-file.h"
#include "agent/command/common.h"
#include "agent/command/journal-view.h"
#include "agent/command/serve-local.h"
#include "agent/daemon/status.h"
#include "rpc/json.h"

static const struct command_help help = {
	.arguments = "FILE | --job ID | --unhandled",
	.summary = "Sends the casts in FILE again, which `novasnap record` or `novasnap show "
		   "--message` wrote, or with\n--job that of a job in the journal. They have no "
		   "user's token, so the agent uses\n[keystone_authtoken]. With --local, no broker "
		   "and no conductor are needed: the casts are executed\nin this process. Only "
		   "snapshots are supported then.\n"
		   "With --unhandled, the casts that novasnapd has kept for nova-compute (mode = "
		   "exclusive) are moved\nto nova-compute's queue, unchanged and in their order. "
		   "Stop novasnapd and start nova-compute first.",
	.exit_status =
		"  0    all casts were sent; with --local, all snapshots succeeded\n"
		"  1    the file or the journal cannot be read, a cast could not be sent, "
		"or a snapshot failed\n" COMMAND_EXIT_USAGE COMMAND_EXIT_SIGNAL ", with --local\n",
	.example = "novasnap replay --local --instance 7d9f5c1e-6f3a-4a57-8c39-0b7f43a5b0c2 "
		   "cast.jsonl",
};

struct replay_options {
	gboolean local;
	gboolean unhandled;
	gboolean json;
	char *job;
	char *instance;
	char *image;
	char *host;
};

static const char *image_of(const cJSON *cast)
{
	return json_string(cJSON_GetObjectItemCaseSensitive(cast, "args"), "image_id");
}

/* `topic`: where it was sent; NULL: it is executed here. */
static void print_cast(const struct replay_options *options, const cJSON *cast, const char *topic)
{
	const char *method = json_string(cast, "method");
	const char *image = image_of(cast);
	cJSON *object;

	if (options->json) {
		object = cJSON_CreateObject();
		cJSON_AddStringToObject(object, "method", method);
		cJSON_AddItemToObject(object, "image",
				      image ? cJSON_CreateString(image) : cJSON_CreateNull());
		cJSON_AddItemToObject(object, "topic",
				      topic ? cJSON_CreateString(topic) : cJSON_CreateNull());
		command_print_json(object);
		return;
	}
	if (topic)
		printf("%s sent to %s\n", method, topic);
	else
		printf("%s, image %s\n", method, image ? image : "none");
	(void)fflush(stdout);
}

static int publish_casts(const struct config *config, const struct replay_options *options,
			 const cJSON *casts, GError **error)
{
	g_autofree char *topic = g_strdup_printf("%s.%s", config->rpc.topic,
						 options->host ? options->host : config->rpc.host);
	struct rpc *rpc = rpc_open(&config->rpc, error);
	const cJSON *cast;
	int status = rpc ? command_wait_ready(rpc, error) : -1;

	cJSON_ArrayForEach (cast, casts) {
		char *body;

		if (status != EXIT_SUCCESS)
			break;
		body = rpc_body_encode(cast);
		status = rpc_publish_body(rpc, topic, body, error);
		if (status == 0)
			print_cast(options, cast, topic);
		cJSON_free(body);
	}
	rpc_close(rpc, 0);
	return status;
}

static int serve_casts(const struct config *config, const struct replay_options *options,
		       cJSON *casts, GError **error)
{
	int status = EXIT_SUCCESS;

	while (status == EXIT_SUCCESS && cJSON_GetArraySize(casts) > 0) {
		cJSON *cast = cJSON_DetachItemFromArray(casts, 0);

		print_cast(options, cast, NULL);
		status = serve_locally(config, cast, options->json, error);
	}
	return status;
}

/* An array with the message of a job in the journal, which the caller deletes. NULL with an
 * error. */
static cJSON *read_job(const struct config *config, const char *id, GError **error)
{
	g_autoptr(journal_job_t) job = journal_view_find(config->state_dir, id, error);
	cJSON *message = NULL;
	cJSON *casts = NULL;

	if (job)
		message = journal_view_message(job, error);
	else if (error && !*error)
		g_set_error(error, JOURNAL_ERROR, JOURNAL_ERROR_FAILED,
			    "the journal has no job, image or instance %s", id);
	if (message) {
		casts = cJSON_CreateArray();
		cJSON_AddItemToArray(casts, message);
	}
	return casts;
}

/* `path`: NULL with --job. */
static int replay_casts(const struct config *config, const struct replay_options *options,
			const char *path, GError **error)
{
	cJSON *casts = path ? cast_read_all(path, error) : read_job(config, options->job, error);
	cJSON *cast;
	int status = casts ? EXIT_SUCCESS : -1;

	cJSON_ArrayForEach (cast, casts) {
		if (status != EXIT_SUCCESS)
			break;
		rpc_message_prepare_replay(cast);
		status = cast_retarget(cast, options->instance, options->image, error);
		if (status < 0)
			g_prefix_error(error, "%s: ", path ? path : options->job);
	}
	if (status == EXIT_SUCCESS)
		status = options->local ? serve_casts(config, options, casts, error)
					: publish_casts(config, options, casts, error);
	cJSON_Delete(casts);
	return status;
}

static void print_returned(const struct rpc_returned *returned, const char *from, const char *to,
			   bool json)
{
	cJSON *object;

	if (json) {
		object = cJSON_CreateObject();
		cJSON_AddNumberToObject(object, "moved", returned->moved);
		cJSON_AddStringToObject(object, "from", from);
		cJSON_AddStringToObject(object, "to", to);
		cJSON_AddNumberToObject(object, "consumers", returned->consumers);
		command_print_json(object);
		return;
	}
	printf("%u messages moved from the queue %s to %s\n", returned->moved, from, to);
	if (returned->moved > 0 && returned->consumers == 0)
		printf("no service consumes it at the moment: start nova-compute\n");
}

/* A novasnapd in exclusive mode consumes the queue, and would move them back again. */
static int return_unhandled(const struct config *config, bool json, GError **error)
{
	g_autofree char *from = g_strdup_printf("novasnap.unhandled.%s", config->rpc.host);
	g_autofree char *to = g_strdup_printf("%s.%s", config->rpc.topic, config->rpc.host);
	cJSON *status = config->beside ? NULL : status_ask(config->state_dir, "status", NULL, NULL);
	struct rpc_returned returned;

	if (status) {
		cJSON_Delete(status);
		g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED,
			    "novasnapd runs in exclusive mode and would take them back: stop it, "
			    "and start nova-compute");
		return -1;
	}
	if (rpc_return_unhandled(&config->rpc, from, to, &returned, error) < 0)
		return -1;
	print_returned(&returned, from, to, json);
	return EXIT_SUCCESS;
}

static const char *find_replay_usage_problem(const struct replay_options *options, int argc)
{
	if (options->unhandled && (argc != 1 || options->job || options->local ||
				   options->instance || options->image || options->host))
		return "--unhandled takes no file and no other option";
	if (options->unhandled)
		return NULL;
	if (argc != (options->job ? 1 : 2))
		return "name one file, or one job by --job";
	if (options->instance && !g_uuid_string_is_valid(options->instance))
		return "--instance must be a UUID";
	if (options->image && !g_uuid_string_is_valid(options->image))
		return "--image must be a UUID";
	if (options->local && options->host)
		return "--local and --host exclude each other";
	return NULL;
}

static int run_replay(const struct command_context *context, const struct replay_options *options,
		      int argc, char **argv)
{
	const char *problem = find_replay_usage_problem(options, argc);
	g_autoptr(config_t) config = NULL;
	g_autoptr(GError) error = NULL;
	int status;

	if (problem)
		return command_fail_usage("replay", problem);
	config = command_config(context, "replay");
	if (!config)
		return EXIT_USAGE;
	status = options->unhandled
			 ? return_unhandled(config, options->json, &error)
			 : replay_casts(config, options, options->job ? NULL : argv[1], &error);
	return status < 0 ? command_fail("replay", error) : status;
}

int command_replay(const struct command_context *context, int argc, char **argv)
{
	struct replay_options options = {0};
	const GOptionEntry entries[] = {
		{"local", 0, 0, G_OPTION_ARG_NONE, &options.local,
		 "Execute the casts in this process, and upload to the configured image store",
		 NULL},
		{"job", 0, 0, G_OPTION_ARG_STRING, &options.job,
		 "Take the cast from the journal: a number in `novasnap jobs`, or the newest job "
		 "of "
		 "an image or instance",
		 "JOB|IMAGE|INSTANCE"},
		{"unhandled", 0, 0, G_OPTION_ARG_NONE, &options.unhandled,
		 "Move the casts that novasnapd has kept for nova-compute back to its queue", NULL},
		{"instance", 0, 0, G_OPTION_ARG_STRING, &options.instance,
		 "Use this instance instead of the recorded one", "UUID"},
		{"image", 0, 0, G_OPTION_ARG_STRING, &options.image,
		 "Use this image instead of the recorded one", "ID"},
		{"host", 0, 0, G_OPTION_ARG_STRING, &options.host,
		 "Send to this compute host (default: this host)", "HOST"},
		{"json", 0, 0, G_OPTION_ARG_NONE, &options.json, COMMAND_JSON_LINES, NULL},
		G_OPTION_ENTRY_NULL,
	};
	int status;

	if (command_parse(&argc, &argv, entries, &help, &status))
		status = run_replay(context, &options, argc, argv);
	g_free(options.job);
	g_free(options.instance);
	g_free(options.image);
	g_free(options.host);
	return status;
}
