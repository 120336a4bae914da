/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap jobs and show: what the journal knows, of this host's novasnapd, running or not.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/command/command.h"
#include "agent/daemon/status.h"
#include "agent/journal/journal.h"
#include "rpc/json.h"

#define LATEST 20

static char *time_text(int64_t seconds)
{
	g_autoptr(GDateTime) when = g_date_time_new_from_unix_local(seconds);

	return when ? g_date_time_format(when, "%Y-%m-%d %H:%M:%S") : g_strdup("?");
}

static const char *outcome(const struct journal_job *job)
{
	if (job->ended_at == 0)
		return "open";
	return job->reason ? "failed" : "done";
}

/* What a job has changed and not taken back. */
static unsigned count_left(const struct journal_job *job)
{
	unsigned left = 0;

	for (guint i = 0; i < job->steps->len; i++) {
		const struct journal_step *step = job->steps->pdata[i];

		left += !step->cleared && *step->undo != '\0';
	}
	return left;
}

/* What is read: the journal, and what novasnapd says of itself, where it runs. */
struct view {
	struct journal *journal;
	char *state_dir;
	bool asked;    /* only once, and of an open job: it may not answer for a while */
	cJSON *status; /* NULL: nobody answers */
};

static int view_open(struct view *view, const struct command_context *context, const char *command)
{
	g_autoptr(config_t) config = command_config(context, command);
	g_autoptr(GError) error = NULL;

	if (!config)
		return -1;
	view->journal = journal_open_to_read(config->state_dir, &error);
	if (!view->journal) {
		(void)command_fail(command, error);
		return -1;
	}
	view->state_dir = g_strdup(config->state_dir);
	return 0;
}

static void view_close(struct view *view)
{
	journal_close(view->journal);
	g_free(view->state_dir);
	cJSON_Delete(view->status);
}

/* What an open job is at by now, for a line of its own; the caller frees it. NULL where it has
 * ended. */
static char *describe_now(struct view *view, const struct journal_job *job)
{
	const cJSON *running;

	if (job->ended_at > 0)
		return NULL;
	if (!view->asked)
		view->status = status_ask(view->state_dir, "status", NULL, NULL);
	view->asked = true;
	cJSON_ArrayForEach (running, cJSON_GetObjectItemCaseSensitive(view->status, "jobs")) {
		double total =
			cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(running, "total"));
		double done =
			cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(running, "done"));
		const char *step = json_string(running, "step");

		if (g_strcmp0(json_string(running, "instance"), job->instance) != 0 ||
		    g_strcmp0(json_string(running, "image"), job->image) != 0)
			continue;
		return total > 0 ? g_strdup_printf("%s, %.0f %%", step, 100 * done / total)
				 : g_strdup(step);
	}
	return g_strdup(view->status ? "waits for its turn"
				     : "novasnapd does not run, or does not answer this user: it "
				       "takes it up when it starts");
}

static void print_job(struct view *view, const struct journal_job *job)
{
	g_autofree char *came = time_text(job->came_at);
	g_autofree char *now = describe_now(view, job);
	unsigned left = count_left(job);

	printf("%6" G_GINT64_FORMAT "  %s  %-7s %-18s instance %s%s%s", job->id, came, outcome(job),
	       job->method, job->instance, job->image ? " image " : "",
	       job->image ? job->image : "");
	if (job->ended_at > 0 && left > 0)
		printf("  (%u steps to be taken back)", left);
	if (now)
		printf("  (%s)", now);
	printf("\n");
}

int command_jobs(const struct command_context *context, int argc, char **argv)
{
	gboolean all = FALSE, open = FALSE;
	const GOptionEntry entries[] = {
		{"all", 'a', 0, G_OPTION_ARG_NONE, &all, "Not the latest twenty alone", NULL},
		{"open", 'o', 0, G_OPTION_ARG_NONE, &open, "Those alone that have not ended", NULL},
		G_OPTION_ENTRY_NULL,
	};
	struct view view = {0};
	g_autoptr(GPtrArray) jobs = NULL;
	g_autoptr(GError) error = NULL;

	if (command_parse(&argc, &argv, entries, NULL,
			  "Lists the casts that this host's novasnapd took, from its journal, the "
			  "newest first.") < 0)
		return EXIT_USAGE;
	if (view_open(&view, context, "jobs") < 0)
		return EXIT_FAILURE;
	jobs = journal_list(view.journal, open ? JOURNAL_OPEN : JOURNAL_ALL,
			    all || open ? 0 : LATEST, &error);
	for (guint i = 0; jobs && i < jobs->len; i++)
		print_job(&view, jobs->pdata[i]);
	view_close(&view);
	return jobs ? EXIT_SUCCESS : command_fail("jobs", error);
}

static void show(struct view *view, const struct journal_job *job)
{
	g_autofree char *now = describe_now(view, job);
	g_autofree char *came = time_text(job->came_at);
	g_autofree char *ended = job->ended_at > 0 ? time_text(job->ended_at) : NULL;

	printf("job       %" G_GINT64_FORMAT "\nmethod    %s\ninstance  %s\nimage     %s\n"
	       "came      %s\nruns      %u\noutcome   %s%s%s\n",
	       job->id, job->method, job->instance, job->image ? job->image : "-", came, job->runs,
	       outcome(job), ended ? " " : "", ended ? ended : "");
	if (now)
		printf("now       %s\n", now);
	if (job->reason)
		printf("reason    %s\n", job->reason);
	for (guint i = 0; i < job->steps->len; i++) {
		const struct journal_step *step = job->steps->pdata[i];
		g_autofree char *at = time_text(step->at);

		printf("step      %s  %-12s %s%s%s\n", at, step->name,
		       step->cleared ? "over" : "open", *step->undo ? "  " : "", step->undo);
	}
}

int command_show(const struct command_context *context, int argc, char **argv)
{
	gboolean message = FALSE;
	const GOptionEntry entries[] = {
		{"message", 'm', 0, G_OPTION_ARG_NONE, &message,
		 "The message alone, its secrets hidden, as novasnap replay takes it", NULL},
		G_OPTION_ENTRY_NULL,
	};
	struct view view = {0};
	g_autoptr(journal_job_t) job = NULL;
	g_autoptr(GError) error = NULL;

	if (command_parse(&argc, &argv, entries, "JOB|IMAGE|INSTANCE",
			  "Shows a job of the journal with its steps; of an image or an instance "
			  "the newest.") < 0)
		return EXIT_USAGE;
	if (argc != 2) {
		(void)fprintf(stderr, "novasnap show: name one job, image or instance; see "
				      "--help\n");
		return EXIT_USAGE;
	}
	if (view_open(&view, context, "show") < 0)
		return EXIT_FAILURE;
	job = journal_find(view.journal, argv[1], &error);
	if (job && message)
		printf("%s\n", job->message);
	else if (job)
		show(&view, job);
	else if (!error)
		(void)fprintf(stderr, "novasnap show: the journal knows nothing of %s\n", argv[1]);
	view_close(&view);
	if (error)
		return command_fail("show", error);
	return job ? EXIT_SUCCESS : EXIT_FAILURE;
}
