/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See top-view.h. Above the table are the states of novasnapd and the broker, and what is wrong.
 */
#include "agent/command/top-view.h"

#include <limits.h>

#include "agent/command/table.h"
#include "rpc/json.h"

/* A question that takes longer is worth a line. */
#define LATE_S 2

static const struct table_column columns[] = {
	{"JOB", TABLE_RIGHT, 3, 8},   {"INSTANCE", TABLE_ID, 8, 1}, {"IMAGE", TABLE_ID, 8, 0},
	{"METHOD", TABLE_TEXT, 8, 6}, {"PHASE", TABLE_TEXT, 14, 2}, {"PROGRESS", TABLE_BAR, 8, 7},
	{"%", TABLE_RIGHT, 4, 3},     {"RATE", TABLE_RIGHT, 10, 5}, {"LEFT", TABLE_RIGHT, 7, 4},
};

/* Where a job has no number, -1. */
static double number_of(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsNumber(item) ? item->valuedouble : -1;
}

static bool is_true(const cJSON *object, const char *name)
{
	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, name));
}

static bool is_recovering(const cJSON *job)
{
	return g_strcmp0(json_string(job, "stage"), "recovering") == 0;
}

struct text {
	const struct terminal *terminal;
	GString *lines;
	unsigned rows; /* so far */
};

static void G_GNUC_PRINTF(3, 4)
	add_line(struct text *text, enum terminal_style style, const char *format, ...)
{
	unsigned left = text->terminal->columns;
	g_autofree char *line = NULL;
	va_list arguments;

	va_start(arguments, format);
	line = g_strdup_vprintf(format, arguments);
	va_end(arguments);
	terminal_add_text(text->terminal, text->lines, &left, style, line);
	g_string_append_c(text->lines, '\n');
	text->rows++;
}

static char *describe_mode(const cJSON *json)
{
	const cJSON *beside = cJSON_GetObjectItemCaseSensitive(json, "beside");
	const char *mode = json_string(json, "mode");

	if (!beside)
		return g_strdup_printf("mode %s", mode ? mode : "unknown");
	return g_strdup_printf("mode beside (%s, %s), %.0f forwarded, %.0f taken",
			       json_string(beside, "stage"),
			       is_true(beside, "given_back")	 ? "given back to nova-compute"
			       : is_true(beside, "intercepting") ? "takes its methods"
								 : "forwards everything",
			       number_of(beside, "forwarded"), number_of(beside, "taken"));
}

static void add_counts(struct text *text, const cJSON *json)
{
	g_autofree char *mode = describe_mode(json);
	bool connected = is_true(json, "ready");
	unsigned left = text->terminal->columns;
	unsigned recovering = 0, running = 0;
	const cJSON *job;

	cJSON_ArrayForEach (job, cJSON_GetObjectItemCaseSensitive(json, "jobs")) {
		if (is_recovering(job))
			recovering++;
		else
			running++;
	}
	terminal_add(text->terminal, text->lines, &left, STYLE_PLAIN,
		     "%u running, %.0f waiting, %u recovering; broker ", running,
		     number_of(json, "waiting"), recovering);
	terminal_add(text->terminal, text->lines, &left, connected ? STYLE_GOOD : STYLE_BAD, "%s",
		     connected ? "connected" : "not connected");
	terminal_add(text->terminal, text->lines, &left, STYLE_PLAIN, "; %s", mode);
	g_string_append_c(text->lines, '\n');
	text->rows++;
}

static void add_problems(struct text *text, const cJSON *json, double late)
{
	const cJSON *beside = cJSON_GetObjectItemCaseSensitive(json, "beside");
	const char *problem = json_string(beside, "problem");

	if (!is_true(json, "answers"))
		add_line(text, STYLE_BAD, "novasnapd does not answer, trying again: %s",
			 json_string(json, "problem"));
	if (late > LATE_S)
		add_line(text, STYLE_WARNING, "novasnapd has not answered for %.0f s", late);
	if (is_true(json, "restarted"))
		add_line(text, STYLE_WARNING, "novasnapd was restarted");
	if (is_true(json, "paused"))
		add_line(text, STYLE_BAD, "no casts are accepted: the journal cannot be written");
	if (problem)
		add_line(text, STYLE_BAD, "beside nova-compute: %s", problem);
}

static char *describe_phase(const cJSON *job, bool waiting)
{
	const char *step = json_string(job, "step");

	if (is_recovering(job))
		return g_strdup_printf("recovering: %s", step);
	return g_strdup_printf("%s%s", step,
			       waiting && is_true(job, "resumed") ? " (resumed)" : "");
}

static enum terminal_style choose_style(const cJSON *job, bool waiting)
{
	const char *stage = json_string(job, "stage");

	if (waiting)
		return STYLE_DIM;
	if (is_recovering(job))
		return STYLE_WARNING;
	return g_strcmp0(stage, "failed") == 0 ? STYLE_BAD : STYLE_PLAIN;
}

static void add_job(struct table *table, const cJSON *job, bool waiting)
{
	double done = number_of(job, "done"), total = number_of(job, "total");
	double rate = number_of(job, "bytes_per_second"), left = number_of(job, "seconds_left");
	double share = total > 0 && done <= total ? MAX(done, 0) / total : -1;
	double id = number_of(job, "job");
	const char *method = json_string(job, "snapshot_method");
	enum terminal_style style = choose_style(job, waiting);
	g_autofree char *id_text = id >= 0 ? g_strdup_printf("%.0f", id) : NULL;
	g_autofree char *phase = describe_phase(job, waiting);
	g_autofree char *percent = share >= 0 ? g_strdup_printf("%.0f %%", share * 100) : NULL;
	g_autofree char *rate_text = rate >= 0 ? terminal_rate(rate) : NULL;
	g_autofree char *left_text = left >= 0 ? terminal_duration(left) : NULL;

	table_add(table, style, id_text);
	table_add(table, style, json_string(job, "instance"));
	table_add(table, style, json_string(job, "image"));
	table_add(table, style, method ? method : json_string(job, "method"));
	table_add(table, style, phase);
	table_add_bar(table, style == STYLE_PLAIN ? STYLE_GOOD : style, share);
	table_add(table, style, percent);
	table_add(table, style, rate_text);
	table_add(table, style, left_text);
}

static gint compare_jobs(gconstpointer a, gconstpointer b)
{
	double one = number_of(*(const cJSON *const *)a, "job");
	double other = number_of(*(const cJSON *const *)b, "job");

	return (one > other) - (one < other);
}

/* The running jobs, by their number. */
static GPtrArray *sort_jobs(const cJSON *json)
{
	GPtrArray *jobs = g_ptr_array_new();
	cJSON *job;

	cJSON_ArrayForEach (job, cJSON_GetObjectItemCaseSensitive(json, "jobs"))
		g_ptr_array_add(jobs, job);
	g_ptr_array_sort(jobs, compare_jobs);
	return jobs;
}

static void add_jobs(struct text *text, const cJSON *json)
{
	g_autoptr(table_t) table = table_new(columns, G_N_ELEMENTS(columns));
	g_autoptr(GPtrArray) jobs = sort_jobs(json);
	double waiting = number_of(json, "waiting");
	/* The titles, and perhaps the last line, are no jobs. */
	unsigned room =
		text->terminal->rows > text->rows + 2 ? text->terminal->rows - text->rows - 1 : 0;
	unsigned all = jobs->len + (unsigned)MAX(waiting, 0), shown = jobs->len;
	const cJSON *job;

	for (guint i = 0; i < jobs->len; i++)
		add_job(table, jobs->pdata[i], false);
	cJSON_ArrayForEach (job, cJSON_GetObjectItemCaseSensitive(json, "waiting_jobs")) {
		add_job(table, job, true);
		shown++;
	}
	if (all == 0 || room == 0)
		return;
	if (all > room || all > shown)
		shown = MIN(shown, room - 1);
	table_print(table, text->terminal, shown, text->lines);
	text->rows += 1 + shown;
	if (all > shown)
		add_line(text, STYLE_DIM, "and %u more", all - shown);
}

/* On a small terminal the first lines count. */
static void cut_rows(const struct terminal *terminal, GString *lines)
{
	unsigned rows = 0;

	for (gsize i = 0; i < lines->len; i++) {
		if (lines->str[i] == '\n' && ++rows >= terminal->rows) {
			g_string_truncate(lines, i + 1);
			return;
		}
	}
}

char *top_view_text(const struct terminal *terminal, const cJSON *json, double late)
{
	g_autoptr(GDateTime) now = g_date_time_new_now_local();
	g_autofree char *clock = g_date_time_format(now, "%H:%M:%S");
	struct text text = {.terminal = terminal, .lines = g_string_new(NULL)};
	bool answers = is_true(json, "answers");

	if (answers)
		add_line(&text, STYLE_TITLE, "%s  host %s  novasnapd %s, process %.0f", clock,
			 json_string(json, "host"), json_string(json, "version"),
			 number_of(json, "pid"));
	else
		add_line(&text, STYLE_TITLE, "%s  host %s", clock, json_string(json, "host"));
	if (answers)
		add_counts(&text, json);
	add_problems(&text, json, late);
	if (answers)
		add_jobs(&text, json);
	cut_rows(terminal, text.lines);
	return g_string_free(text.lines, FALSE);
}
