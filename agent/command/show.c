/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap show: shows a job in the journal with its steps, or its message.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/command/common.h"
#include "agent/command/journal-view.h"
#include "rpc/json.h"

static const struct command_help help = {
	.arguments = "JOB|IMAGE|INSTANCE",
	.summary = "Shows a job of this host's novasnapd with its steps, from the journal. JOB is "
		   "its number in\n`novasnap jobs`; for the UUID of an IMAGE or INSTANCE, the "
		   "newest job is shown.",
	.exit_status = "  0    the job was shown\n"
		       "  1    the journal has no such job, does not exist, or cannot be "
		       "read\n" COMMAND_EXIT_USAGE,
	.example = "novasnap show --message 17 > message.json",
};

static void print_job(struct journal_view *view, const struct journal_job *job)
{
	g_autofree char *now = journal_view_describe(view, job);
	g_autofree char *came = journal_view_time(job->came_at);
	g_autofree char *ended = job->ended_at > 0 ? journal_view_time(job->ended_at) : NULL;

	printf("job       %" G_GINT64_FORMAT "\nmethod    %s\ninstance  %s\nimage     %s\n"
	       "received  %s\nstarts    %u\noutcome   %s%s%s\n",
	       job->id, job->method, job->instance, job->image ? job->image : "-", came, job->runs,
	       journal_view_state(job), ended ? " " : "", ended ? ended : "");
	if (now)
		printf("now       %s\n", now);
	if (job->reason)
		printf("reason    %s\n", job->reason);
	for (guint i = 0; i < job->steps->len; i++) {
		const struct journal_step *step = job->steps->pdata[i];
		g_autofree char *at = journal_view_time(step->at);

		printf("step      %s  %-12s %s%s%s\n", at, step->name,
		       step->cleared ? "cleared" : "open", *step->undo ? "  " : "", step->undo);
	}
}

static void print_job_json(struct journal_view *view, const struct journal_job *job)
{
	cJSON *object = journal_view_json(view, job);
	cJSON *steps = cJSON_AddArrayToObject(object, "steps");

	for (guint i = 0; i < job->steps->len; i++) {
		const struct journal_step *step = job->steps->pdata[i];
		cJSON *item = cJSON_CreateObject();

		cJSON_AddStringToObject(item, "name", step->name);
		cJSON_AddNumberToObject(item, "at", (double)step->at);
		cJSON_AddBoolToObject(item, "cleared", step->cleared);
		cJSON_AddStringToObject(item, "undo", step->undo);
		cJSON_AddItemToArray(steps, item);
	}
	command_print_json(object);
}

static int print_message(const struct journal_job *job, bool json, GError **error)
{
	cJSON *message = journal_view_message(job, error);
	char *text;

	if (!message)
		return -1;
	if (json) {
		command_print_json(message);
		return 0;
	}
	text = json_print(message);
	puts(text);
	cJSON_free(text);
	cJSON_Delete(message);
	return 0;
}

int command_show(const struct command_context *context, int argc, char **argv)
{
	gboolean message = FALSE, json = FALSE;
	const GOptionEntry entries[] = {
		{"message", 'm', 0, G_OPTION_ARG_NONE, &message,
		 "Print only the job's message without secrets, for novasnap replay", NULL},
		{"json", 0, 0, G_OPTION_ARG_NONE, &json, COMMAND_JSON, NULL},
		G_OPTION_ENTRY_NULL,
	};
	struct journal_view view;
	g_autoptr(journal_job_t) job = NULL;
	g_autoptr(GError) error = NULL;
	int status;

	if (!command_parse(&argc, &argv, entries, &help, &status))
		return status;
	if (argc != 2)
		return command_fail_usage("show", "name one job, image or instance");
	status = journal_view_open_configured(&view, context, "show");
	if (status != EXIT_SUCCESS)
		return status;
	job = journal_find(view.journal, argv[1], &error);
	if (job && message)
		(void)print_message(job, json, &error);
	else if (job && json)
		print_job_json(&view, job);
	else if (job)
		print_job(&view, job);
	else if (!error)
		(void)fprintf(stderr,
			      "novasnap show: the journal has no job, image or instance %s\n",
			      argv[1]);
	journal_view_close(&view);
	if (error)
		return command_fail("show", error);
	return job ? EXIT_SUCCESS : EXIT_FAILURE;
}
