/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See journal-view.h.
 */
#include "agent/command/journal-view.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/command/common.h"
#include "agent/daemon/status.h"
#include "rpc/json.h"
#include "rpc/rpc.h"

char *journal_view_time(int64_t seconds)
{
	g_autoptr(GDateTime) when = g_date_time_new_from_unix_local(seconds);

	return when ? g_date_time_format(when, "%Y-%m-%d %H:%M:%S") : g_strdup("?");
}

const char *journal_view_state(const struct journal_job *job)
{
	if (job->ended_at == 0)
		return "open";
	return job->reason ? "failed" : "done";
}

bool journal_view_is_leftover(const struct journal_job *job)
{
	return job->ended_at > 0 && journal_job_count_open_steps(job) > 0;
}

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

int journal_view_open(struct journal_view *view, const char *state_dir, GError **error)
{
	*view = (struct journal_view){.journal = journal_open_to_read(state_dir, error)};
	if (!view->journal) {
		explain_journal_error(state_dir, error);
		return -1;
	}
	view->state_dir = g_strdup(state_dir);
	return 0;
}

int journal_view_open_configured(struct journal_view *view, const struct command_context *context,
				 const char *command)
{
	g_autoptr(config_t) config = command_config(context, command);
	g_autoptr(GError) error = NULL;

	if (!config)
		return EXIT_USAGE;
	if (journal_view_open(view, config->state_dir, &error) < 0)
		return command_fail(command, error);
	return EXIT_SUCCESS;
}

void journal_view_close(struct journal_view *view)
{
	journal_close(view->journal);
	g_free(view->state_dir);
	cJSON_Delete(view->status);
}

struct journal_job *journal_view_find(const char *state_dir, const char *id, GError **error)
{
	struct journal_view view;
	struct journal_job *job;

	if (journal_view_open(&view, state_dir, error) < 0)
		return NULL;
	job = journal_find(view.journal, id, error);
	journal_view_close(&view);
	return job;
}

/* The job in novasnapd's answer; NULL: it does not run, or novasnapd does not answer. */
static const cJSON *find_running(struct journal_view *view, const struct journal_job *job)
{
	const cJSON *running;

	if (!view->asked)
		view->status = status_ask(view->state_dir, "status", NULL, NULL);
	view->asked = true;
	cJSON_ArrayForEach (running, cJSON_GetObjectItemCaseSensitive(view->status, "jobs")) {
		if (g_strcmp0(json_string(running, "instance"), job->instance) == 0 &&
		    g_strcmp0(json_string(running, "image"), job->image) == 0)
			return running;
	}
	return NULL;
}

char *journal_view_describe(struct journal_view *view, const struct journal_job *job)
{
	const cJSON *running = job->ended_at == 0 ? find_running(view, job) : NULL;
	double total = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(running, "total"));
	double done = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(running, "done"));

	if (job->ended_at > 0)
		return NULL;
	if (!running)
		return g_strdup(view->status ? "waits for its turn"
					     : "novasnapd is not running, or does not answer this "
					       "user; it resumes the job when it starts");
	return total > 0 && done <= total
		       ? g_strdup_printf("%s, %.0f %%", json_string(running, "step"),
					 100 * done / total)
		       : g_strdup(json_string(running, "step"));
}

static void add_text(cJSON *into, const char *name, const char *text)
{
	if (text)
		cJSON_AddStringToObject(into, name, text);
	else
		cJSON_AddNullToObject(into, name);
}

static void add_copy(cJSON *into, const char *name, const cJSON *running, const char *member)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(running, member);

	cJSON_AddItemToObject(into, name, item ? cJSON_Duplicate(item, true) : cJSON_CreateNull());
}

cJSON *journal_view_json(struct journal_view *view, const struct journal_job *job)
{
	const cJSON *running = job->ended_at == 0 ? find_running(view, job) : NULL;
	cJSON *object = cJSON_CreateObject();

	cJSON_AddNumberToObject(object, "job", (double)job->id);
	cJSON_AddStringToObject(object, "state", journal_view_state(job));
	cJSON_AddStringToObject(object, "method", job->method);
	cJSON_AddStringToObject(object, "instance", job->instance);
	add_text(object, "image", job->image);
	cJSON_AddNumberToObject(object, "received", (double)job->came_at);
	if (job->ended_at > 0)
		cJSON_AddNumberToObject(object, "ended", (double)job->ended_at);
	else
		cJSON_AddNullToObject(object, "ended");
	cJSON_AddNumberToObject(object, "starts", job->runs);
	add_text(object, "reason", job->reason);
	cJSON_AddNumberToObject(object, "open_steps", journal_job_count_open_steps(job));
	cJSON_AddBoolToObject(object, "leftover", journal_view_is_leftover(job));
	add_copy(object, "step", running, "step");
	add_copy(object, "snapshot_method", running, "snapshot_method");
	add_copy(object, "done", running, "done");
	add_copy(object, "total", running, "total");
	return object;
}

cJSON *journal_view_message(const struct journal_job *job, GError **error)
{
	cJSON *message = json_parse(job->message, strlen(job->message), NULL);

	if (!message)
		g_set_error(error, JOURNAL_ERROR, JOURNAL_ERROR_FAILED,
			    "the message of job %" G_GINT64_FORMAT " in the journal is not JSON",
			    job->id);
	/* An earlier version may have journaled secrets that this one knows. */
	rpc_body_redact(message);
	return message;
}
