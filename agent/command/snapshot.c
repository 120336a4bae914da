/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap snapshot: of a guest that no cloud knows, by no broker.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/command/command.h"

struct options {
	char *name;
	char *to;
};

static void choose_store(struct config *config, const char *to)
{
	if (!to)
		return;
	config->image.directory = !g_str_equal(to, "glance");
	if (config->image.directory)
		config->image.images_dir = to;
}

static int take(struct config *config, const struct options *options, const char *domain,
		GError **error)
{
	g_autofree char *name =
		options->name ? g_strdup(options->name) : g_strdup_printf("snapshot of %s", domain);
	g_autofree char *image = NULL;
	cJSON *cast;

	choose_store(config, options->to);
	cast = cast_for_domain(config, domain, error);
	if (cast)
		image = cast_create_image(config, cast, name, error);
	if (!image || cast_point(cast, NULL, image, error) < 0) {
		cJSON_Delete(cast);
		return -1;
	}
	printf("%s\n", image);
	(void)fflush(stdout);
	return local_serve(config, cast, error);
}

int command_snapshot(const struct command_context *context, int argc, char **argv)
{
	struct options options = {0};
	const GOptionEntry entries[] = {
		{"name", 0, 0, G_OPTION_ARG_STRING, &options.name, "The image's name", "NAME"},
		{"to", 0, 0, G_OPTION_ARG_STRING, &options.to,
		 "A folder with an image and a JSON record each, or glance; without it, the "
		 "configuration's",
		 "DIR|glance"},
		G_OPTION_ENTRY_NULL,
	};
	g_autoptr(config_t) config = NULL;
	g_autoptr(GError) error = NULL;
	int status = EXIT_USAGE;

	if (command_parse(&argc, &argv, entries, "DOMAIN",
			  "Takes a snapshot of a guest of this host and prints the image's id.") <
	    0)
		return EXIT_USAGE;
	if (argc != 2 ||
	    (options.to && !g_str_equal(options.to, "glance") && !g_path_is_absolute(options.to)))
		(void)fprintf(stderr, "novasnap snapshot: name one domain; --to takes a folder's "
				      "whole path, or glance; see --help\n");
	else
		config = command_config(context, "snapshot");
	if (config)
		status = take(config, &options, argv[1], &error);
	if (status < 0)
		status = command_fail("snapshot", error);
	g_free(options.name);
	g_free(options.to);
	return status;
}
