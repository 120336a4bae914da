/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap send: a cast as nova-api publishes it, from a recorded one or for a guest of this host.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/command/command.h"

#define METHOD "snapshot_instance"

struct options {
	char *file;
	char *domain;
	char *instance;
	char *image;
	char *name;
	char *host;
	gboolean watch;
	int timeout;
};

static int publish(const struct config *config, const struct options *options, const cJSON *message,
		   const char *image, GError **error)
{
	g_autofree char *topic = g_strdup_printf("%s.%s", config->rpc.topic,
						 options->host ? options->host : config->rpc.host);
	struct rpc *rpc = rpc_open(&config->rpc, error);
	struct progress_view *view = NULL;
	char *body = rpc_body_encode(message);
	int status = -1;

	if (rpc && options->watch)
		view = progress_view_new(rpc, image, NULL, error);
	if (rpc && (view || !options->watch) && command_wait_ready(rpc, error) == 0)
		status = rpc_publish_body(rpc, topic, body, error);
	if (status == 0) {
		printf("%s\n", image);
		(void)fflush(stdout);
	}
	if (status == 0 && view)
		status = progress_view_run(view, (unsigned)MAX(options->timeout, 0));
	cJSON_free(body);
	rpc_close(rpc, 0);
	progress_view_free(view);
	return status;
}

static int send_cast(const struct config *config, struct options *options, GError **error)
{
	cJSON *message = options->file ? cast_read(options->file, error)
				       : cast_for_domain(config, options->domain, error);
	g_autofree char *name =
		options->name ? g_strdup(options->name)
			      : g_strdup_printf("snapshot of %s",
						options->domain ? options->domain : "a guest");
	int status = -1;

	if (message && !options->image)
		options->image = cast_create_image(config, message, name, error);
	if (message && options->image &&
	    cast_point(message, options->instance, options->image, error) == 0)
		status = publish(config, options, message, options->image, error);
	cJSON_Delete(message);
	return status;
}

static const char *what_is_wrong(const struct options *options, int argc, char **argv)
{
	if (argc != 2 || !g_str_equal(argv[1], METHOD))
		return "name the method: snapshot_instance";
	if (!options->file == !options->domain)
		return "give either --file or --domain";
	if (options->instance && !g_uuid_string_is_valid(options->instance))
		return "--instance takes a uuid";
	if (options->image && !g_uuid_string_is_valid(options->image))
		return "--image takes a uuid";
	return NULL;
}

int command_send(const struct command_context *context, int argc, char **argv)
{
	struct options options = {0};
	const GOptionEntry entries[] = {
		{"file", 0, 0, G_OPTION_ARG_FILENAME, &options.file, "A recorded cast",
		 "CAST.json"},
		{"domain", 0, 0, G_OPTION_ARG_STRING, &options.domain,
		 "A guest of this host that no nova knows", "NAME"},
		{"instance", 0, 0, G_OPTION_ARG_STRING, &options.instance,
		 "Put this instance into the cast", "UUID"},
		{"image", 0, 0, G_OPTION_ARG_STRING, &options.image,
		 "Into this image; without it one is made", "ID"},
		{"name", 0, 0, G_OPTION_ARG_STRING, &options.name,
		 "The name of an image that is made", "NAME"},
		{"host", 0, 0, G_OPTION_ARG_STRING, &options.host,
		 "To this compute host; without it, the configuration's", "HOST"},
		{"watch", 0, 0, G_OPTION_ARG_NONE, &options.watch, "Show how far it is, to its end",
		 NULL},
		{"timeout", 0, 0, G_OPTION_ARG_INT, &options.timeout,
		 "With --watch: give up after so long", "SECONDS"},
		G_OPTION_ENTRY_NULL,
	};
	g_autoptr(config_t) config = NULL;
	g_autoptr(GError) error = NULL;
	const char *wrong;
	int status;

	if (command_parse(&argc, &argv, entries, "snapshot_instance",
			  "Publishes a cast, as nova-api does, and prints the image's id.") < 0)
		return EXIT_USAGE;
	wrong = what_is_wrong(&options, argc, argv);
	if (wrong)
		(void)fprintf(stderr, "novasnap send: %s; see --help\n", wrong);
	else
		config = command_config(context, "send");
	status = config ? send_cast(config, &options, &error) : EXIT_USAGE;
	if (status < 0)
		status = command_fail("send", error);
	g_free(options.file);
	g_free(options.domain);
	g_free(options.instance);
	g_free(options.image);
	g_free(options.name);
	g_free(options.host);
	return status;
}
