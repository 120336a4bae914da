/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap replay: sends recorded casts again, or executes them in this process.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/command/cast-file.h"
#include "agent/command/common.h"
#include "agent/command/serve-local.h"
#include "agent/daemon/status.h"
#include "rpc/json.h"

static const struct command_help help = {
	.arguments = "FILE | --unhandled",
	.summary = "Sends the casts in FILE again, which `novasnap record` or `novasnap show "
		   "--message` wrote. They\nhave no user's token, so the agent uses "
		   "[keystone_authtoken]. With --local, no broker and no\nconductor are needed: "
		   "the casts are executed in this process. Only snapshots are supported then.\n"
		   "With --unhandled, the casts that novasnapd has kept for nova-compute (mode = "
		   "exclusive) are moved\nto nova-compute's queue, unchanged and in their order. "
		   "Stop novasnapd and start nova-compute first.",
	.exit_status = "  0    all casts were sent; with --local, all snapshots succeeded\n"
		       "  1    the file cannot be read, a cast could not be sent, or a snapshot "
		       "failed\n" COMMAND_EXIT_USAGE COMMAND_EXIT_SIGNAL ", with --local\n",
	.example = "novasnap replay --local --instance 7d9f5c1e-6f3a-4a57-8c39-0b7f43a5b0c2 "
		   "cast.jsonl",
};

struct replay_options {
	gboolean local;
	gboolean unhandled;
	char *instance;
	char *image;
	char *host;
};

static int publish_casts(const struct config *config, const char *host, const cJSON *casts,
			 GError **error)
{
	g_autofree char *topic = g_strdup_printf("%s.%s", config->rpc.topic, host);
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
			printf("%s sent to %s\n", json_string(cast, "method"), topic);
		cJSON_free(body);
	}
	rpc_close(rpc, 0);
	return status;
}

static int serve_casts(const struct config *config, cJSON *casts, GError **error)
{
	int status = EXIT_SUCCESS;

	while (status == EXIT_SUCCESS && cJSON_GetArraySize(casts) > 0) {
		cJSON *cast = cJSON_DetachItemFromArray(casts, 0);
		const char *image =
			json_string(cJSON_GetObjectItemCaseSensitive(cast, "args"), "image_id");

		printf("%s, image %s\n", json_string(cast, "method"), image ? image : "none");
		(void)fflush(stdout);
		status = serve_locally(config, cast, error);
	}
	return status;
}

static int replay_file(const struct config *config, const struct replay_options *options,
		       const char *path, GError **error)
{
	const char *host = options->host ? options->host : config->rpc.host;
	cJSON *casts = cast_read_all(path, error);
	cJSON *cast;
	int status = casts ? EXIT_SUCCESS : -1;

	cJSON_ArrayForEach (cast, casts) {
		if (status != EXIT_SUCCESS)
			break;
		rpc_message_prepare_replay(cast);
		status = cast_retarget(cast, options->instance, options->image, error);
		if (status < 0)
			g_prefix_error(error, "%s: ", path);
	}
	if (status == EXIT_SUCCESS)
		status = options->local ? serve_casts(config, casts, error)
					: publish_casts(config, host, casts, error);
	cJSON_Delete(casts);
	return status;
}

/* A novasnapd in exclusive mode consumes the queue, and would move them back again. */
static int return_unhandled(const struct config *config, GError **error)
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
	printf("%u messages moved from the queue %s to %s\n", returned.moved, from, to);
	if (returned.moved > 0 && returned.consumers == 0)
		printf("no service consumes it at the moment: start nova-compute\n");
	return EXIT_SUCCESS;
}

static const char *find_replay_usage_problem(const struct replay_options *options, int argc)
{
	if (options->unhandled &&
	    (argc != 1 || options->local || options->instance || options->image || options->host))
		return "--unhandled takes no file and no other option";
	if (options->unhandled)
		return NULL;
	if (argc != 2)
		return "name one file";
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
	status = options->unhandled ? return_unhandled(config, &error)
				    : replay_file(config, options, argv[1], &error);
	return status < 0 ? command_fail("replay", error) : status;
}

int command_replay(const struct command_context *context, int argc, char **argv)
{
	struct replay_options options = {0};
	const GOptionEntry entries[] = {
		{"local", 0, 0, G_OPTION_ARG_NONE, &options.local,
		 "Execute the casts in this process, and upload to the configured image store",
		 NULL},
		{"unhandled", 0, 0, G_OPTION_ARG_NONE, &options.unhandled,
		 "Move the casts that novasnapd has kept for nova-compute back to its queue", NULL},
		{"instance", 0, 0, G_OPTION_ARG_STRING, &options.instance,
		 "Use this instance instead of the recorded one", "UUID"},
		{"image", 0, 0, G_OPTION_ARG_STRING, &options.image,
		 "Use this image instead of the recorded one", "ID"},
		{"host", 0, 0, G_OPTION_ARG_STRING, &options.host,
		 "Send to this compute host (default: this host)", "HOST"},
		G_OPTION_ENTRY_NULL,
	};
	int status;

	if (command_parse(&argc, &argv, entries, &help, &status))
		status = run_replay(context, &options, argc, argv);
	g_free(options.instance);
	g_free(options.image);
	g_free(options.host);
	return status;
}
