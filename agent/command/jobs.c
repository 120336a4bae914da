/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap jobs: lists the jobs in the journal. A terminal gets a table that fits it; otherwise
 * each line is complete.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/command/common.h"
#include "agent/command/journal-view.h"
#include "agent/command/table.h"

#define LATEST 20

static const struct command_help help = {
	.summary =
		"Lists the jobs of this host's novasnapd from its journal, newest first: number, "
		"time, open,\ndone or failed, method, instance and image; for an open job also its "
		"current step. A job that has\nended may have steps that novasnapd still has to "
		"undo; the list says so. Only users who may read\nstate_dir/journal can use it.",
	.exit_status = "  0    the journal was read\n"
		       "  1    the journal does not exist, or cannot be read\n" COMMAND_EXIT_USAGE,
	.example = "novasnap jobs --open",
};

static const struct table_column columns[] = {
	{"JOB", TABLE_RIGHT, 3, 0},    {"RECEIVED", TABLE_TEXT, 19, 6}, {"STATE", TABLE_TEXT, 6, 1},
	{"METHOD", TABLE_TEXT, 17, 5}, {"INSTANCE", TABLE_ID, 8, 2},	{"IMAGE", TABLE_ID, 8, 3},
	{"NOW", TABLE_TEXT, 12, 4},
};

/* What novasnapd still has to do for a job that has ended; the caller frees it. NULL: nothing. */
static char *describe_left(const struct journal_job *job)
{
	unsigned left = journal_job_count_open_steps(job);

	if (!journal_view_is_leftover(job))
		return NULL;
	return g_strdup_printf("%u step%s still to be rolled back or reported", left,
			       left == 1 ? "" : "s");
}

static void print_job_line(struct journal_view *view, const struct journal_job *job)
{
	g_autofree char *came = journal_view_time(job->came_at);
	g_autofree char *now = journal_view_describe(view, job);
	g_autofree char *left = describe_left(job);

	printf("%6" G_GINT64_FORMAT "  %s  %-7s %-18s instance %s%s%s", job->id, came,
	       journal_view_state(job), job->method, job->instance, job->image ? " image " : "",
	       job->image ? job->image : "");
	if (now || left)
		printf("  (%s)", now ? now : left);
	printf("\n");
}

static enum terminal_style choose_style(const struct journal_job *job)
{
	if (job->ended_at == 0 || journal_view_is_leftover(job))
		return STYLE_WARNING;
	return job->reason ? STYLE_BAD : STYLE_GOOD;
}

static void add_row(struct table *table, struct journal_view *view, const struct journal_job *job)
{
	g_autofree char *id = g_strdup_printf("%" G_GINT64_FORMAT, job->id);
	g_autofree char *came = journal_view_time(job->came_at);
	g_autofree char *now = journal_view_describe(view, job);

	if (!now)
		now = describe_left(job);
	table_add(table, STYLE_PLAIN, id);
	table_add(table, STYLE_PLAIN, came);
	table_add(table, choose_style(job), journal_view_state(job));
	table_add(table, STYLE_PLAIN, job->method);
	table_add(table, STYLE_PLAIN, job->instance);
	table_add(table, STYLE_PLAIN, job->image);
	table_add(table, STYLE_PLAIN, now ? now : job->reason);
}

static void print_table(struct journal_view *view, const struct terminal *terminal,
			const GPtrArray *jobs)
{
	g_autoptr(table_t) table = table_new(columns, G_N_ELEMENTS(columns));
	g_autoptr(GString) text = g_string_new(NULL);

	for (guint i = 0; i < jobs->len; i++)
		add_row(table, view, jobs->pdata[i]);
	if (jobs->len > 0)
		table_print(table, terminal, jobs->len, text);
	(void)fputs(text->str, stdout);
}

static void print_jobs(struct journal_view *view, const GPtrArray *jobs, bool json)
{
	struct terminal terminal;

	terminal_look(&terminal);
	if (terminal.is_terminal && !json) {
		print_table(view, &terminal, jobs);
		return;
	}
	for (guint i = 0; i < jobs->len; i++) {
		if (json)
			command_print_json(journal_view_json(view, jobs->pdata[i]));
		else
			print_job_line(view, jobs->pdata[i]);
	}
}

int command_jobs(const struct command_context *context, int argc, char **argv)
{
	gboolean all = FALSE, open = FALSE, json = FALSE;
	const GOptionEntry entries[] = {
		{"all", 'a', 0, G_OPTION_ARG_NONE, &all,
		 "List all jobs (default: the newest twenty)", NULL},
		{"open", 'o', 0, G_OPTION_ARG_NONE, &open,
		 "List only jobs that have not ended, or whose steps are not all undone, oldest "
		 "first",
		 NULL},
		{"json", 0, 0, G_OPTION_ARG_NONE, &json, COMMAND_JSON_LINES, NULL},
		G_OPTION_ENTRY_NULL,
	};
	struct journal_view view;
	g_autoptr(GPtrArray) jobs = NULL;
	g_autoptr(GError) error = NULL;
	int status;

	if (!command_parse_options(&argc, &argv, entries, &help, &status))
		return status;
	status = journal_view_open_configured(&view, context, "jobs");
	if (status != EXIT_SUCCESS)
		return status;
	jobs = journal_list(view.journal, open ? JOURNAL_UNFINISHED : JOURNAL_ALL,
			    all || open ? 0 : LATEST, &error);
	if (jobs)
		print_jobs(&view, jobs, json);
	journal_view_close(&view);
	return jobs ? EXIT_SUCCESS : command_fail("jobs", error);
}
