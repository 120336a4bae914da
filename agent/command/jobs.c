/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap jobs and novasnap show: the jobs in the journal of this host's novasnapd, which need not
 * be running.
 */
#include <errno.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/command/common.h"
#include "agent/daemon/status.h"
#include "agent/journal/journal.h"
#include "rpc/json.h"
#include "rpc/rpc.h"

#define LATEST 20

static const struct command_help jobs_help = {
	.summary =
		"Lists the jobs of this host's novasnapd from its journal, newest first: number, "
		"time, open,\ndone or failed, method, instance and image; for an open job also its "
		"current step. Only users\nwho may read state_dir/journal can use it.",
	.exit_status = "  0    the journal was read\n"
		       "  1    the journal does not exist, or cannot be read\n" COMMAND_EXIT_USAGE,
	.example = "novasnap jobs --open",
};

static const struct command_help show_help = {
	.arguments = "JOB|IMAGE|INSTANCE",
	.summary = "Shows a job of this host's novasnapd with its steps, from the journal. JOB is "
		   "its number in\n`novasnap jobs`; for the UUID of an IMAGE or INSTANCE, the "
		   "newest job is shown.",
	.exit_status = "  0    the job was shown\n"
		       "  1    the journal has no such job, does not exist, or cannot be "
		       "read\n" COMMAND_EXIT_USAGE,
	.example = "novasnap show --message 17 > message.json",
};

static char *format_time(int64_t seconds)
{
	g_autoptr(GDateTime) when = g_date_time_new_from_unix_local(seconds);

	return when ? g_date_time_format(when, "%Y-%m-%d %H:%M:%S") : g_strdup("?");
}

static const char *job_outcome_word(const struct journal_job *job)
{
	if (job->ended_at == 0)
		return "open";
	return job->reason ? "failed" : "done";
}

/* The journal, and the status of the novasnapd that writes it. */
struct journal_view {
	struct journal *journal;
	char *state_dir;
	bool asked;    /* queried once, and only if a job is open: an answer may take time */
	cJSON *status; /* NULL: novasnapd is not running, or does not answer this user */
};

/* Explains why the journal cannot be read, in cases that SQLite does not explain. */
static void explain_journal_error(const char *state_dir, GError **error)
{
	g_autofree char *path = g_build_filename(state_dir, "journal", "journal.db", NULL);
	int problem = g_access(path, R_OK) == 0 ? 0 : errno;

	if (problem == ENOENT)
		g_prefix_error(error,
			       "there is no journal; novasnapd has not been run with "
			       "[novasnap]state_dir = %s: ",
			       state_dir);
	else if (problem != 0)
		g_prefix_error(error, "this user may not read the journal; run novasnap as "
				      "novasnapd's user: ");
}

/* Returns EXIT_SUCCESS, or another exit status after printing the error. */
static int view_open(struct journal_view *view, const struct command_context *context,
		     const char *command)
{
	g_autoptr(config_t) config = command_config(context, command);
	g_autoptr(GError) error = NULL;

	if (!config)
		return EXIT_USAGE;
	view->journal = journal_open_to_read(config->state_dir, &error);
	if (!view->journal) {
		explain_journal_error(config->state_dir, &error);
		return command_fail(command, error);
	}
	view->state_dir = g_strdup(config->state_dir);
	return EXIT_SUCCESS;
}

static void view_close(struct journal_view *view)
{
	journal_close(view->journal);
	g_free(view->state_dir);
	cJSON_Delete(view->status);
}

/* What an open job is doing; the caller frees it. NULL for a job that has ended. */
static char *describe_open_job(struct journal_view *view, const struct journal_job *job)
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
				     : "novasnapd is not running, or does not answer this user; it "
				       "resumes the job when it starts");
}

static void print_job_line(struct journal_view *view, const struct journal_job *job)
{
	g_autofree char *came = format_time(job->came_at);
	g_autofree char *now = describe_open_job(view, job);
	unsigned left = journal_job_count_open_steps(job);

	printf("%6" G_GINT64_FORMAT "  %s  %-7s %-18s instance %s%s%s", job->id, came,
	       job_outcome_word(job), job->method, job->instance, job->image ? " image " : "",
	       job->image ? job->image : "");
	if (job->ended_at > 0 && left > 0)
		printf("  (%u steps still to be rolled back or reported)", left);
	if (now)
		printf("  (%s)", now);
	printf("\n");
}

int command_jobs(const struct command_context *context, int argc, char **argv)
{
	gboolean all = FALSE, open = FALSE;
	const GOptionEntry entries[] = {
		{"all", 'a', 0, G_OPTION_ARG_NONE, &all,
		 "List all jobs (default: the newest twenty)", NULL},
		{"open", 'o', 0, G_OPTION_ARG_NONE, &open,
		 "List only jobs that have not ended, oldest first", NULL},
		G_OPTION_ENTRY_NULL,
	};
	struct journal_view view = {0};
	g_autoptr(GPtrArray) jobs = NULL;
	g_autoptr(GError) error = NULL;
	int status;

	if (!command_parse(&argc, &argv, entries, &jobs_help, &status))
		return status;
	if (argc != 1)
		return command_fail_usage("jobs", "it takes no arguments, only options");
	status = view_open(&view, context, "jobs");
	if (status != EXIT_SUCCESS)
		return status;
	jobs = journal_list(view.journal, open ? JOURNAL_OPEN : JOURNAL_ALL,
			    all || open ? 0 : LATEST, &error);
	for (guint i = 0; jobs && i < jobs->len; i++)
		print_job_line(&view, jobs->pdata[i]);
	view_close(&view);
	return jobs ? EXIT_SUCCESS : command_fail("jobs", error);
}

static void print_job(struct journal_view *view, const struct journal_job *job)
{
	g_autofree char *now = describe_open_job(view, job);
	g_autofree char *came = format_time(job->came_at);
	g_autofree char *ended = job->ended_at > 0 ? format_time(job->ended_at) : NULL;

	printf("job       %" G_GINT64_FORMAT "\nmethod    %s\ninstance  %s\nimage     %s\n"
	       "received  %s\nstarts    %u\noutcome   %s%s%s\n",
	       job->id, job->method, job->instance, job->image ? job->image : "-", came, job->runs,
	       job_outcome_word(job), ended ? " " : "", ended ? ended : "");
	if (now)
		printf("now       %s\n", now);
	if (job->reason)
		printf("reason    %s\n", job->reason);
	for (guint i = 0; i < job->steps->len; i++) {
		const struct journal_step *step = job->steps->pdata[i];
		g_autofree char *at = format_time(step->at);

		printf("step      %s  %-12s %s%s%s\n", at, step->name,
		       step->cleared ? "cleared" : "open", *step->undo ? "  " : "", step->undo);
	}
}

/* An earlier version may have journaled secrets that this one knows. */
static void print_message(const struct journal_job *job)
{
	cJSON *message = json_parse(job->message, strlen(job->message), NULL);
	char *text;

	rpc_body_redact(message);
	text = message ? json_print(message) : NULL;
	printf("%s\n", text ? text : "{}");
	cJSON_free(text);
	cJSON_Delete(message);
}

int command_show(const struct command_context *context, int argc, char **argv)
{
	gboolean message = FALSE;
	const GOptionEntry entries[] = {
		{"message", 'm', 0, G_OPTION_ARG_NONE, &message,
		 "Print only the job's message without secrets, for novasnap replay", NULL},
		G_OPTION_ENTRY_NULL,
	};
	struct journal_view view = {0};
	g_autoptr(journal_job_t) job = NULL;
	g_autoptr(GError) error = NULL;
	int status;

	if (!command_parse(&argc, &argv, entries, &show_help, &status))
		return status;
	if (argc != 2)
		return command_fail_usage("show", "name one job, image or instance");
	status = view_open(&view, context, "show");
	if (status != EXIT_SUCCESS)
		return status;
	job = journal_find(view.journal, argv[1], &error);
	if (job && message)
		print_message(job);
	else if (job)
		print_job(&view, job);
	else if (!error)
		(void)fprintf(stderr,
			      "novasnap show: the journal has no job, image or instance %s\n",
			      argv[1]);
	view_close(&view);
	if (error)
		return command_fail("show", error);
	return job ? EXIT_SUCCESS : EXIT_FAILURE;
}
