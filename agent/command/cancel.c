/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap cancel: ends a snapshot that is under way.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/command/command.h"
#include "agent/daemon/dispatch.h"
#include "agent/daemon/status.h"

#define ANSWER_S 10

/* This host's novasnapd, without a broker. -1 with STATUS_ERROR_NOBODY where it is none, or another
 * user's. */
static int ask_here(const struct config *config, const char *id, GError **error)
{
	cJSON *answer = status_ask(config->state_dir, "cancel", id, error);
	const cJSON *cancelled = cJSON_GetObjectItemCaseSensitive(answer, "cancelled");
	int count = -1;

	if (cJSON_IsNumber(cancelled))
		count = cancelled->valueint;
	else if (answer)
		g_set_error_literal(error, STATUS_ERROR, STATUS_ERROR_FAILED,
				    "novasnapd refused to cancel it");
	cJSON_Delete(answer);
	return count;
}

static int ask_by_broker(const struct config *config, const char *host, const char *id,
			 GError **error)
{
	g_autofree char *topic =
		g_strdup_printf("%s.%s", config->rpc.topic, host ? host : config->rpc.host);
	struct rpc *rpc = rpc_open(&config->rpc, error);
	g_autoptr(rpc_context_t) context = rpc_context_new(NULL);
	cJSON *args = cJSON_CreateObject();
	cJSON *answer = NULL;
	int count = -1;

	cJSON_AddStringToObject(args, "id", id);
	if (rpc && command_wait_ready(rpc, error) == 0)
		answer = rpc_call(rpc, topic, context, DISPATCH_CANCEL, DISPATCH_CANCEL_VERSION,
				  g_steal_pointer(&args), ANSWER_S, error);
	if (answer)
		count = cJSON_IsNumber(answer) ? answer->valueint : 0;
	cJSON_Delete(answer);
	cJSON_Delete(args);
	rpc_close(rpc, 0);
	return count;
}

int command_cancel(const struct command_context *context, int argc, char **argv)
{
	g_autofree char *host = NULL;
	const GOptionEntry entries[] = {
		{"host", 0, 0, G_OPTION_ARG_STRING, &host,
		 "At this compute host, by the broker; without it, at this one", "HOST"},
		G_OPTION_ENTRY_NULL,
	};
	g_autoptr(config_t) config = NULL;
	g_autoptr(GError) error = NULL;
	int count;

	if (command_parse(
		    &argc, &argv, entries, "ID",
		    "Ends the snapshots of an instance, or the one into an image: each fails, "
		    "and its image is deleted.") < 0)
		return EXIT_USAGE;
	if (argc != 2 || !g_uuid_string_is_valid(argv[1])) {
		(void)fprintf(stderr, "novasnap cancel: name one image or instance, by its id; see "
				      "--help\n");
		return EXIT_USAGE;
	}
	config = command_config(context, "cancel");
	if (!config)
		return EXIT_USAGE;
	count = host ? -1 : ask_here(config, argv[1], &error);
	if (host || g_error_matches(error, STATUS_ERROR, STATUS_ERROR_NOBODY)) {
		g_clear_error(&error);
		count = ask_by_broker(config, host, argv[1], &error);
	}
	if (count < 0)
		return command_fail("cancel", error);
	if (count == 0) {
		(void)fprintf(stderr, "novasnap cancel: no snapshot of %s is under way at %s\n",
			      argv[1], host ? host : config->rpc.host);
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
