/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap cancel: cancels running snapshots.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/command/common.h"
#include "agent/command/journal-view.h"
#include "agent/daemon/dispatch.h"
#include "agent/daemon/status.h"

#define REPLY_S 10

static const struct command_help help = {
	.arguments = "JOB|IMAGE|INSTANCE",
	.summary = "Cancels the running snapshot to the IMAGE, or all running snapshots of the "
		   "INSTANCE, by its UUID. JOB\nis a number in `novasnap jobs`. Each snapshot "
		   "fails, and its image is deleted.",
	.exit_status = "  0    at least one snapshot was cancelled\n"
		       "  1    no such snapshot is running, or novasnapd does not "
		       "answer\n" COMMAND_EXIT_USAGE,
	.example = "novasnap cancel 2f6e1c2e-8f0b-4a58-9d0c-1d2b2f6f8c11",
};

/* Asks this host's novasnapd through its status socket. Returns how many snapshots were cancelled;
 * -1 with STATUS_ERROR_NOBODY if novasnapd is not running or this user may not ask it. */
static int cancel_by_socket(const struct config *config, const char *id, GError **error)
{
	cJSON *answer = status_ask(config->state_dir, "cancel", id, error);
	const cJSON *cancelled = cJSON_GetObjectItemCaseSensitive(answer, "cancelled");
	int count = -1;

	if (cJSON_IsNumber(cancelled))
		count = cancelled->valueint;
	else if (answer)
		g_set_error(error, STATUS_ERROR, STATUS_ERROR_FAILED,
			    "novasnapd rejected the request to cancel the snapshots of %s", id);
	cJSON_Delete(answer);
	return count;
}

static int cancel_by_broker(const struct config *config, const char *host, const char *id,
			    GError **error)
{
	g_autofree char *topic = g_strdup_printf("%s.%s", config->rpc.topic, host);
	struct rpc_config own = config->rpc;
	struct rpc *rpc;
	g_autoptr(rpc_context_t) context = rpc_context_new(NULL);
	cJSON *args = cJSON_CreateObject();
	cJSON *answer = NULL;
	int count = -1;

	/* The names of the queue manager are those of novasnapd. */
	own.queue_manager_name = NULL;
	rpc = rpc_open(&own, error);
	cJSON_AddStringToObject(args, "id", id);
	if (rpc && command_wait_ready(rpc, error) == 0)
		answer = rpc_call(rpc, topic, context, DISPATCH_CANCEL, DISPATCH_CANCEL_VERSION,
				  g_steal_pointer(&args), REPLY_S, error);
	if (answer)
		count = cJSON_IsNumber(answer) ? answer->valueint : 0;
	else if (g_error_matches(*error, RPC_ERROR, RPC_ERROR_REMOTE) &&
		 strstr((*error)->message, "NoSuchMethod"))
		g_prefix_error(
			error,
			"novasnapd does not run on host %s, or has not its requests: ", host);
	cJSON_Delete(answer);
	cJSON_Delete(args);
	rpc_close(rpc, 0);
	return count;
}

/* The UUID of the image of that job, which the caller frees. NULL with an error. */
static char *find_image(const struct config *config, const char *number, GError **error)
{
	g_autoptr(journal_job_t) job = journal_view_find(config->state_dir, number, error);

	if (job && job->ended_at == 0 && job->image)
		return g_strdup(job->image);
	if (!*error)
		g_set_error(error, JOURNAL_ERROR, JOURNAL_ERROR_FAILED, "%s %s",
			    job ? "no snapshot is running in job" : "the journal has no job",
			    number);
	return NULL;
}

static void print_json(const char *id, const char *host, int count)
{
	cJSON *object = cJSON_CreateObject();

	cJSON_AddStringToObject(object, "id", id);
	cJSON_AddStringToObject(object, "host", host);
	cJSON_AddNumberToObject(object, "cancelled", count);
	command_print_json(object);
}

int command_cancel(const struct command_context *context, int argc, char **argv)
{
	g_autofree char *host = NULL;
	g_autofree char *id = NULL;
	gboolean json = FALSE;
	const GOptionEntry entries[] = {
		{"host", 0, 0, G_OPTION_ARG_STRING, &host,
		 "Cancel on this compute host, through the broker (default: this host)", "HOST"},
		{"json", 0, 0, G_OPTION_ARG_NONE, &json, COMMAND_JSON, NULL},
		G_OPTION_ENTRY_NULL,
	};
	g_autoptr(config_t) config = NULL;
	g_autoptr(GError) error = NULL;
	int count, status;

	if (!command_parse(&argc, &argv, entries, &help, &status))
		return status;
	if (argc != 2 ||
	    (!g_uuid_string_is_valid(argv[1]) && (host || !journal_is_job_number(argv[1]))))
		return command_fail_usage("cancel",
					  "name one image or instance by its UUID, or without "
					  "--host one job by its number");
	config = command_config(context, "cancel");
	if (!config)
		return EXIT_USAGE;
	id = journal_is_job_number(argv[1]) ? find_image(config, argv[1], &error)
					    : g_strdup(argv[1]);
	if (!id)
		return command_fail("cancel", error);
	count = host ? -1 : cancel_by_socket(config, id, &error);
	if (host || g_error_matches(error, STATUS_ERROR, STATUS_ERROR_NOBODY)) {
		g_clear_error(&error);
		count = cancel_by_broker(config, host ? host : config->rpc.host, id, &error);
	}
	if (count < 0)
		return command_fail("cancel", error);
	if (json)
		print_json(id, host ? host : config->rpc.host, count);
	else if (count > 0)
		printf("%d %s cancelled\n", count, count == 1 ? "snapshot is" : "snapshots are");
	if (count > 0)
		return EXIT_SUCCESS;
	(void)fprintf(stderr, "novasnap cancel: no snapshot of %s is running on host %s\n", id,
		      host ? host : config->rpc.host);
	return EXIT_FAILURE;
}
