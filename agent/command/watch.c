/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap watch: a progress bar for each snapshot.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/command/command.h"

int command_watch(const struct command_context *context, int argc, char **argv)
{
	g_autofree char *image = NULL;
	g_autofree char *instance = NULL;
	int timeout = 0;
	const GOptionEntry entries[] = {
		{"image", 0, 0, G_OPTION_ARG_STRING, &image, "Only this image; ends with it", "ID"},
		{"instance", 0, 0, G_OPTION_ARG_STRING, &instance,
		 "Only this instance; ends with its snapshot", "UUID"},
		{"timeout", 0, 0, G_OPTION_ARG_INT, &timeout, "Give up after so long", "SECONDS"},
		G_OPTION_ENTRY_NULL,
	};
	g_autoptr(config_t) config = NULL;
	g_autoptr(GError) error = NULL;
	struct progress_view *view;
	struct rpc *rpc;
	int status = EXIT_FAILURE;

	if (command_parse(&argc, &argv, entries, NULL,
			  "Shows how far the snapshots are, from the agent's notifications.\n"
			  "Exits with 0 when the named image is done, with 1 when it failed.") < 0)
		return EXIT_USAGE;
	config = command_config(context, "watch");
	if (!config)
		return EXIT_USAGE;
	rpc = rpc_open(&config->rpc, &error);
	if (!rpc)
		return command_fail("watch", error);
	view = progress_view_new(rpc, image, instance, &error);
	if (!view || command_wait_ready(rpc, &error) < 0)
		status = command_fail("watch", error);
	else
		status = progress_view_run(view, (unsigned)MAX(timeout, 0));
	/* The connection goes first: its thread calls the view. */
	rpc_close(rpc, 0);
	progress_view_free(view);
	return status;
}
