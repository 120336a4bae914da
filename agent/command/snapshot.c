/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap snapshot: takes a snapshot of a guest in this process, without a broker and a conductor.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/command/cast-file.h"
#include "agent/command/common.h"
#include "agent/command/serve-local.h"

static const struct command_help help = {
	.arguments = "DOMAIN",
	.summary = "Takes a snapshot of the guest DOMAIN, a libvirt domain of this host, and "
		   "prints the image's ID.\nIt works in this process: no broker, conductor or "
		   "novasnapd is needed. --to DIR puts the image\nand a JSON record into a folder; "
		   "--to glance uploads it to the configured Glance.",
	.exit_status =
		"  0    the snapshot succeeded\n"
		"  1    it failed, and was rolled back\n" COMMAND_EXIT_USAGE COMMAND_EXIT_SIGNAL
		"; the snapshot was rolled back\n",
	.example = "novasnap snapshot --to /var/tmp/images instance-0000002a",
};

static void choose_store(struct config *config, const char *to)
{
	if (!to)
		return;
	config->image.directory = !g_str_equal(to, "glance");
	if (config->image.directory)
		config->image.images_dir = to;
}

static int make_snapshot(const struct config *config, const char *domain, const char *name,
			 bool json, GError **error)
{
	cJSON *cast = cast_for_domain(config, domain, error);
	g_autofree char *image = cast ? cast_create_image(config, cast, name, error) : NULL;

	if (!image || cast_retarget(cast, NULL, image, error) < 0) {
		cJSON_Delete(cast);
		return -1;
	}
	if (json) {
		cJSON *object = cJSON_CreateObject();

		cJSON_AddStringToObject(object, "image", image);
		command_print_json(object);
	} else {
		printf("%s\n", image);
		(void)fflush(stdout);
	}
	return serve_locally(config, cast, json, error);
}

int command_snapshot(const struct command_context *context, int argc, char **argv)
{
	g_autofree char *name = NULL;
	g_autofree char *to = NULL;
	gboolean json = FALSE;
	const GOptionEntry entries[] = {
		{"name", 0, 0, G_OPTION_ARG_STRING, &name,
		 "The image's name (default: snapshot of DOMAIN)", "NAME"},
		{"to", 0, 0, G_OPTION_ARG_FILENAME, &to,
		 "Where to put the image: the absolute path of a folder, or glance (default: the "
		 "configured store)",
		 "DIR|glance"},
		{"json", 0, 0, G_OPTION_ARG_NONE, &json, COMMAND_JSON_LINES, NULL},
		G_OPTION_ENTRY_NULL,
	};
	g_autoptr(config_t) config = NULL;
	g_autoptr(GError) error = NULL;
	int status;

	if (!command_parse(&argc, &argv, entries, &help, &status))
		return status;
	if (argc != 2)
		return command_fail_usage("snapshot", "name one libvirt domain");
	if (to && !g_str_equal(to, "glance") && !g_path_is_absolute(to))
		return command_fail_usage("snapshot",
					  "--to must be the absolute path of a folder, or glance");
	config = command_config(context, "snapshot");
	if (!config)
		return EXIT_USAGE;
	choose_store(config, to);
	if (!name)
		name = g_strdup_printf("snapshot of %s", argv[1]);
	status = make_snapshot(config, argv[1], name, json, &error);
	return status < 0 ? command_fail("snapshot", error) : status;
}
