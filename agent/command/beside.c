/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap beside: runs novasnapd beside a nova-compute.
 */
#include "agent/command/beside-parts.h"
#include "agent/command/common.h"

#define WAIT_S 300
#define WAIT_MAX_S 86400

static const struct command_help help = {
	.summary = "Runs novasnapd beside the nova-compute of this host: novasnapd makes the "
		   "snapshots and backups,\nnova-compute does everything else. --enable gives the "
		   "requests for this host to novasnapd, prints\nthe line for nova-compute's "
		   "configuration, and waits until nova-compute was restarted with it;\n--disable "
		   "undoes all of that. Both may be interrupted and run again. --status changes "
		   "nothing.\n--guard is for the timer novasnap-beside-guard.timer.",
	.exit_status =
		"  0    done; --status: enabled, and everything is in order\n"
		"  1    it failed, or --status or --guard found a problem that needs "
		"you\n" COMMAND_EXIT_USAGE
		"  3    --enable, --disable: only nova-compute's restart is missing; "
		"--disable also: novasnapd\n       has requests that have not ended; --status: "
		"not enabled\n",
	.example = "novasnap beside --enable",
};

/* The configuration as the daemon has it, with the broker of notifications. */
static struct config *load_config(const struct command_context *context)
{
	g_autoptr(GError) error = NULL;
	struct config *config = config_load(context->files, &error);

	if (!config)
		(void)command_fail("beside", error);
	return config;
}

int command_beside(const struct command_context *context, int argc, char **argv)
{
	gboolean enable = FALSE, disable = FALSE, status = FALSE, guard = FALSE, json = FALSE;
	int wait_s = WAIT_S, result;
	const GOptionEntry entries[] = {
		{"enable", 0, 0, G_OPTION_ARG_NONE, &enable, "Give the requests to novasnapd",
		 NULL},
		{"disable", 0, 0, G_OPTION_ARG_NONE, &disable,
		 "Give them back, and remove everything from the broker", NULL},
		{"status", 0, 0, G_OPTION_ARG_NONE, &status, "Show what is at the broker", NULL},
		{"guard", 0, 0, G_OPTION_ARG_NONE, &guard,
		 "Repair what the broker lost, or give the requests back if novasnapd is away",
		 NULL},
		{"wait", 0, 0, G_OPTION_ARG_INT, &wait_s,
		 "How long to wait for nova-compute's restart (default 300)", "SECONDS"},
		{"json", 0, 0, G_OPTION_ARG_NONE, &json, "Print the status as JSON", NULL},
		G_OPTION_ENTRY_NULL,
	};
	g_autoptr(config_t) config = NULL;

	if (!command_parse(&argc, &argv, entries, &help, &result))
		return result;
	if (argc > 1 || enable + disable + status + guard != 1)
		return command_fail_usage("beside",
					  "give one of --enable, --disable, --status and --guard");
	if (wait_s < 0 || wait_s > WAIT_MAX_S || (json && !status))
		return command_fail_usage("beside", json ? "--json is for --status"
							 : "--wait is from 0 to 86400");
	config = load_config(context);
	if (!config)
		return EXIT_USAGE;
	if (enable)
		return beside_enable(config, (unsigned)wait_s);
	if (disable)
		return beside_disable(config, (unsigned)wait_s);
	return status ? beside_status(config, json) : beside_guard(config);
}
