/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap watch: shows the progress of snapshots.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/command/common.h"
#include "agent/command/progress-bar.h"

static const struct command_help help = {
	.summary = "Shows the progress of the snapshots of all hosts, from now on: task states, "
		   "methods, and a bar\nfor each upload. Without --image or --instance it "
		   "continues until Ctrl-C.",
	.exit_status = "  0    the snapshot of the image or instance succeeded\n"
		       "  1    it failed, nova-compute serves it, the timeout expired, or the "
		       "broker cannot be reached\n" COMMAND_EXIT_USAGE COMMAND_EXIT_SIGNAL "\n",
	.example = "novasnap watch --image 2f6e1c2e-8f0b-4a58-9d0c-1d2b2f6f8c11 --timeout 600",
};

static int watch_snapshots(const struct config *config, const char *image, const char *instance,
			   unsigned timeout_s, bool json)
{
	g_autoptr(GError) error = NULL;
	struct rpc *rpc = rpc_open(&config->rpc, &error);
	struct progress_view *view =
		rpc ? progress_view_new(rpc, image, instance, json, &error) : NULL;
	int status;

	if (!view || command_wait_ready(rpc, &error) < 0)
		status = command_fail("watch", error);
	else
		status = progress_view_run(view, timeout_s);
	rpc_close(rpc, 0);
	progress_view_free(view);
	return status;
}

int command_watch(const struct command_context *context, int argc, char **argv)
{
	g_autofree char *image = NULL;
	g_autofree char *instance = NULL;
	gboolean json = FALSE;
	int timeout = 0;
	const GOptionEntry entries[] = {
		{"image", 0, 0, G_OPTION_ARG_STRING, &image,
		 "Show only the snapshot to this image, and end with it", "ID"},
		{"instance", 0, 0, G_OPTION_ARG_STRING, &instance,
		 "Show only the snapshots of this instance, and end with the first", "UUID"},
		{"timeout", 0, 0, G_OPTION_ARG_INT, &timeout,
		 "End after this time (default: 0, no limit)", "SECONDS"},
		{"json", 0, 0, G_OPTION_ARG_NONE, &json, COMMAND_JSON_LINES, NULL},
		G_OPTION_ENTRY_NULL,
	};
	g_autoptr(config_t) config = NULL;
	int status;

	if (!command_parse_options(&argc, &argv, entries, &help, &status))
		return status;
	if (timeout < 0)
		return command_fail_usage("watch", "--timeout must not be negative");
	if ((image && !g_uuid_string_is_valid(image)) ||
	    (instance && !g_uuid_string_is_valid(instance)))
		return command_fail_usage("watch", "name the image or the instance by its UUID");
	config = command_config(context, "watch");
	return config ? watch_snapshots(config, image, instance, (unsigned)timeout, json)
		      : EXIT_USAGE;
}
