/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads the journal.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/journal/db.h"

#define COLUMNS "id, unique_id, method, instance, image, message, runs, came_at, ended_at, reason"
#define WITH_OPEN_STEP "(SELECT job FROM steps WHERE cleared_at IS NULL AND undo <> '')"

static char *column_text(sqlite3_stmt *statement, int column)
{
	return g_strdup((const char *)sqlite3_column_text(statement, column));
}

static void free_step(void *opaque)
{
	struct journal_step *step = opaque;

	g_free(step->name);
	g_free(step->undo);
	g_free(step);
}

bool journal_step_is_open(const struct journal_step *step)
{
	return !step->cleared && *step->undo != '\0';
}

unsigned journal_job_count_open_steps(const struct journal_job *job)
{
	unsigned count = 0;

	for (guint i = 0; i < job->steps->len; i++)
		count += journal_step_is_open(job->steps->pdata[i]);
	return count;
}

void journal_job_free(struct journal_job *job)
{
	if (!job)
		return;
	g_free(job->unique_id);
	g_free(job->method);
	g_free(job->instance);
	g_free(job->image);
	g_free(job->message);
	g_free(job->reason);
	g_ptr_array_unref(job->steps);
	g_free(job);
}

static void free_job(void *opaque)
{
	journal_job_free(opaque);
}

/* With the lock held. */
static int read_steps(struct journal *journal, struct journal_job *job)
{
	const struct journal_value values[] = {JOURNAL_NUMBER(job->id)};
	sqlite3_stmt *statement =
		journal_db_prepare(journal,
				   "SELECT id, name, undo, at, cleared_at FROM steps WHERE job = ? "
				   "ORDER BY id",
				   values, G_N_ELEMENTS(values));
	int rc = SQLITE_ERROR;

	while (statement && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
		struct journal_step *step = g_new0(struct journal_step, 1);

		step->id = sqlite3_column_int64(statement, 0);
		step->name = column_text(statement, 1);
		step->undo = column_text(statement, 2);
		step->at = sqlite3_column_int64(statement, 3);
		step->cleared = sqlite3_column_type(statement, 4) != SQLITE_NULL;
		g_ptr_array_add(job->steps, step);
	}
	(void)sqlite3_finalize(statement);
	return rc == SQLITE_DONE ? 0 : -1;
}

static struct journal_job *read_job(sqlite3_stmt *statement)
{
	struct journal_job *job = g_new0(struct journal_job, 1);

	job->id = sqlite3_column_int64(statement, 0);
	job->unique_id = column_text(statement, 1);
	job->method = column_text(statement, 2);
	job->instance = column_text(statement, 3);
	job->image = column_text(statement, 4);
	job->message = column_text(statement, 5);
	job->runs = (unsigned)sqlite3_column_int(statement, 6);
	job->came_at = sqlite3_column_int64(statement, 7);
	job->ended_at = sqlite3_column_int64(statement, 8);
	job->reason = column_text(statement, 9);
	job->steps = g_ptr_array_new_with_free_func(free_step);
	return job;
}

static GPtrArray *read_jobs(struct journal *journal, const char *sql,
			    const struct journal_value *values, size_t count, GError **error)
{
	GPtrArray *jobs = g_ptr_array_new_with_free_func(free_job);
	sqlite3_stmt *statement;
	int rc = SQLITE_ERROR;

	pthread_mutex_lock(&journal->lock);
	statement = journal_db_prepare(journal, sql, values, count);
	while (statement && (rc = sqlite3_step(statement)) == SQLITE_ROW)
		g_ptr_array_add(jobs, read_job(statement));
	for (guint i = 0; rc == SQLITE_DONE && i < jobs->len; i++) {
		if (read_steps(journal, jobs->pdata[i]) < 0)
			rc = SQLITE_ERROR;
	}
	if (rc != SQLITE_DONE) {
		(void)journal_db_fail(journal, "reading", error);
		g_clear_pointer(&jobs, g_ptr_array_unref);
	}
	(void)sqlite3_finalize(statement);
	pthread_mutex_unlock(&journal->lock);
	return jobs;
}

GPtrArray *journal_list(struct journal *journal, enum journal_which which, unsigned limit,
			GError **error)
{
	static const char *const where[] = {
		[JOURNAL_ALL] = "ORDER BY id DESC",
		[JOURNAL_OPEN] = "WHERE ended_at IS NULL ORDER BY id",
		[JOURNAL_LEFTOVERS] =
			"WHERE ended_at IS NOT NULL AND id IN " WITH_OPEN_STEP " ORDER BY id",
		[JOURNAL_UNFINISHED] =
			"WHERE ended_at IS NULL OR id IN " WITH_OPEN_STEP " ORDER BY id",
	};
	g_autofree char *sql =
		g_strdup_printf("SELECT " COLUMNS " FROM jobs %s LIMIT ?", where[which]);
	const struct journal_value values[] = {JOURNAL_NUMBER(limit > 0 ? (int64_t)limit : -1)};

	return read_jobs(journal, sql, values, G_N_ELEMENTS(values), error);
}

bool journal_is_job_number(const char *text)
{
	return *text != '\0' && text[strspn(text, "0123456789")] == '\0';
}

struct journal_job *journal_find(struct journal *journal, const char *id, GError **error)
{
	const struct journal_value values[] = {
		JOURNAL_NUMBER(journal_is_job_number(id) ? strtoll(id, NULL, 10) : -1),
		JOURNAL_TEXT(id),
		JOURNAL_TEXT(id),
	};
	g_autoptr(GPtrArray) found = read_jobs(journal,
					       "SELECT " COLUMNS " FROM jobs WHERE id = ? OR image "
					       "= ? OR instance = ? ORDER BY id DESC LIMIT 1",
					       values, G_N_ELEMENTS(values), error);

	return found && found->len > 0 ? g_ptr_array_steal_index(found, 0) : NULL;
}
