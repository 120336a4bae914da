/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap beside: runs novasnapd beside a nova-compute.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/beside/state.h"
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
		"--disable also: novasnapd\n       has requests that have not ended, or steps of "
		"ended ones to undo; --status: "
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

/* With --json, what the parts print for people goes to standard error. Returns the file descriptor
 * of standard output. */
static int divert_output(void)
{
	int output = dup(STDOUT_FILENO);

	(void)dup2(STDERR_FILENO, STDOUT_FILENO);
	return output;
}

static void print_result(const struct config *config, int output, int result)
{
	struct beside_state state;
	cJSON *object = cJSON_CreateObject();
	bool known = beside_state_read(config->state_dir, &state, NULL) == 0;

	(void)fflush(stdout);
	(void)dup2(output, STDOUT_FILENO);
	(void)close(output);
	cJSON_AddStringToObject(object, "result",
				result == EXIT_SUCCESS	 ? "done"
				: result == EXIT_PENDING ? "pending"
							 : "failed");
	cJSON_AddStringToObject(object, "stage",
				known ? beside_stage_name(state.stage) : "unknown");
	cJSON_AddBoolToObject(object, "given_back", known && state.given_back);
	cJSON_AddBoolToObject(object, "line_in_configuration", config->nova_has_exchange);
	command_print_json(object);
}

int command_beside(const struct command_context *context, int argc, char **argv)
{
	gboolean enable = FALSE, disable = FALSE, status = FALSE, guard = FALSE, json = FALSE;
	int wait_s = WAIT_S, output, result;
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
		{"json", 0, 0, G_OPTION_ARG_NONE, &json, COMMAND_JSON, NULL},
		G_OPTION_ENTRY_NULL,
	};
	g_autoptr(config_t) config = NULL;

	if (!command_parse(&argc, &argv, entries, &help, &result))
		return result;
	if (argc > 1 || enable + disable + status + guard != 1)
		return command_fail_usage("beside",
					  "give one of --enable, --disable, --status and --guard");
	if (wait_s < 0 || wait_s > WAIT_MAX_S)
		return command_fail_usage("beside", "--wait is from 0 to 86400");
	config = load_config(context);
	if (!config)
		return EXIT_USAGE;
	if (status)
		return beside_status(config, json);
	output = json ? divert_output() : -1;
	if (enable)
		result = beside_enable(config, (unsigned)wait_s);
	else if (disable)
		result = beside_disable(config, (unsigned)wait_s);
	else
		result = beside_guard(config);
	if (json)
		print_result(config, output, result);
	return result;
}
