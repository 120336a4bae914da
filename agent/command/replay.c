/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap replay: recorded messages again, through the broker or here.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/command/command.h"
#include "rpc/json.h"

struct options {
	gboolean local;
	char *instance;
	char *image;
	char *host;
};

static int publish(const struct config *config, const struct options *options, const cJSON *casts,
		   GError **error)
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
			printf("%s sent to %s\n", json_string(cast, "method"), topic);
		cJSON_free(body);
	}
	rpc_close(rpc, 0);
	return status;
}

static int serve(const struct config *config, cJSON *casts, GError **error)
{
	int status = EXIT_SUCCESS;

	while (status == EXIT_SUCCESS && cJSON_GetArraySize(casts) > 0) {
		cJSON *cast = cJSON_DetachItemFromArray(casts, 0);

		printf("%s, image %s\n", json_string(cast, "method"),
		       json_string(cJSON_GetObjectItemCaseSensitive(cast, "args"), "image_id"));
		(void)fflush(stdout);
		status = local_serve(config, cast, error);
	}
	return status;
}

static int replay(const struct config *config, const struct options *options, const char *path,
		  GError **error)
{
	cJSON *casts = cast_read_all(path, error);
	cJSON *cast;
	int status = casts ? EXIT_SUCCESS : -1;

	cJSON_ArrayForEach (cast, casts) {
		rpc_message_prepare_replay(cast);
		if (status == EXIT_SUCCESS)
			status = cast_point(cast, options->instance, options->image, error);
	}
	if (status == EXIT_SUCCESS)
		status = options->local ? serve(config, casts, error)
					: publish(config, options, casts, error);
	cJSON_Delete(casts);
	return status;
}

int command_replay(const struct command_context *context, int argc, char **argv)
{
	struct options options = {0};
	const GOptionEntry entries[] = {
		{"local", 0, 0, G_OPTION_ARG_NONE, &options.local,
		 "Here, without any broker or conductor, into the image store of the configuration",
		 NULL},
		{"instance", 0, 0, G_OPTION_ARG_STRING, &options.instance,
		 "Of this guest, not of the recorded one", "UUID"},
		{"image", 0, 0, G_OPTION_ARG_STRING, &options.image,
		 "Into this image, not into the recorded one", "ID"},
		{"host", 0, 0, G_OPTION_ARG_STRING, &options.host,
		 "To this compute host; without it, the configuration's", "HOST"},
		G_OPTION_ENTRY_NULL,
	};
	g_autoptr(config_t) config = NULL;
	g_autoptr(GError) error = NULL;
	int status = EXIT_USAGE;

	if (command_parse(&argc, &argv, entries, "FILE",
			  "Sends recorded messages again, or serves them here.") < 0)
		return EXIT_USAGE;
	if (argc != 2 || (options.instance && !g_uuid_string_is_valid(options.instance)) ||
	    (options.image && !g_uuid_string_is_valid(options.image)))
		(void)fprintf(stderr, "novasnap replay: name one file; --instance and --image take "
				      "uuids; see --help\n");
	else
		config = command_config(context, "replay");
	if (config)
		status = replay(config, &options, argv[1], &error);
	if (status < 0)
		status = command_fail("replay", error);
	g_free(options.instance);
	g_free(options.image);
	g_free(options.host);
	return status;
}
