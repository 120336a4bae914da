/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes the journal. Each change is one transaction, which is on disk when the call returns.
 */
#include "agent/journal/db.h"

static int64_t now_s(void)
{
	return g_get_real_time() / G_USEC_PER_SEC;
}

static int add_cast(struct journal *journal, struct journal_cast *cast, GError **error)
{
	const struct journal_value values[] = {
		JOURNAL_TEXT(cast->unique_id), JOURNAL_TEXT(cast->method),
		JOURNAL_TEXT(cast->instance),  JOURNAL_TEXT(cast->image),
		JOURNAL_TEXT(cast->message),   JOURNAL_NUMBER(now_s()),
	};
	int added = journal_db_change(
		journal,
		"INSERT INTO jobs (unique_id, method, instance, image, message, came_at, runs) "
		"VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT (unique_id) DO NOTHING",
		values, G_N_ELEMENTS(values), "adding a cast", &cast->job, error);

	if (added == 0)
		cast->job = 0;
	return added < 0 ? -1 : 0;
}

static int add_casts(struct journal *journal, struct journal_cast *casts, size_t count,
		     GError **error)
{
	if (journal_db_execute(journal, "BEGIN IMMEDIATE", "adding casts", error) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		if (add_cast(journal, &casts[i], error) < 0)
			return -1;
	}
	return journal_db_execute(journal, "COMMIT", "adding casts", error);
}

static void roll_back(struct journal *journal, int rc)
{
	/* Some errors, such as a full disk, have already rolled back the transaction. */
	if (rc < 0 && !sqlite3_get_autocommit(journal->db))
		(void)sqlite3_exec(journal->db, "ROLLBACK", NULL, NULL, NULL);
}

int journal_casts_add(struct journal *journal, struct journal_cast *casts, size_t count,
		      GError **error)
{
	int rc;

	pthread_mutex_lock(&journal->lock);
	rc = add_casts(journal, casts, count, error);
	roll_back(journal, rc);
	pthread_mutex_unlock(&journal->lock);
	return rc;
}

static int write_filler(struct journal *journal, size_t bytes, GError **error)
{
	const struct journal_value values[] = {JOURNAL_NUMBER((int64_t)bytes)};

	/* A filler of an earlier try, which could not be deleted, is replaced. */
	if (journal_db_execute(journal,
			       "BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS filler (bytes BLOB); "
			       "DELETE FROM filler",
			       "reserving room", error) < 0 ||
	    journal_db_change(journal, "INSERT INTO filler VALUES (zeroblob(?))", values,
			      G_N_ELEMENTS(values), "reserving room", NULL, error) < 0)
		return -1;
	return journal_db_execute(journal, "COMMIT; DROP TABLE filler", "reserving room", error);
}

int journal_reserve(struct journal *journal, size_t bytes, GError **error)
{
	int rc;

	pthread_mutex_lock(&journal->lock);
	rc = write_filler(journal, bytes, error);
	roll_back(journal, rc);
	pthread_mutex_unlock(&journal->lock);
	return rc;
}

int journal_prune(struct journal *journal, unsigned keep_days, GError **error)
{
	int rc;

	pthread_mutex_lock(&journal->lock);
	rc = journal_db_delete_old(journal, keep_days, error);
	pthread_mutex_unlock(&journal->lock);
	return rc;
}

static int change_rows(struct journal *journal, const char *sql, const struct journal_value *values,
		       size_t count, const char *what, GError **error)
{
	int changed;

	pthread_mutex_lock(&journal->lock);
	changed = journal_db_change(journal, sql, values, count, what, NULL, error);
	pthread_mutex_unlock(&journal->lock);
	return changed < 0 ? -1 : 0;
}

int journal_job_run(struct journal *journal, int64_t job, GError **error)
{
	const struct journal_value values[] = {JOURNAL_NUMBER(job)};

	return change_rows(journal, "UPDATE jobs SET runs = runs + 1 WHERE id = ?", values,
			   G_N_ELEMENTS(values), "recording a job's run", error);
}

int journal_job_fail(struct journal *journal, int64_t job, const char *reason, GError **error)
{
	const struct journal_value values[] = {JOURNAL_TEXT(reason), JOURNAL_NUMBER(job)};

	return change_rows(journal, "UPDATE jobs SET reason = ? WHERE id = ?", values,
			   G_N_ELEMENTS(values), "recording a job's failure", error);
}

int journal_job_end(struct journal *journal, int64_t job, const char *reason, GError **error)
{
	const struct journal_value values[] = {
		JOURNAL_NUMBER(now_s()),
		JOURNAL_TEXT(reason),
		JOURNAL_NUMBER(job),
	};

	return change_rows(journal, "UPDATE jobs SET ended_at = ?, reason = ? WHERE id = ?", values,
			   G_N_ELEMENTS(values), "recording a job's end", error);
}

int journal_step_add(struct journal *journal, int64_t job, const char *step, const char *undo,
		     GError **error)
{
	const struct journal_value values[] = {
		JOURNAL_NUMBER(job),
		JOURNAL_TEXT(step),
		JOURNAL_TEXT(undo),
		JOURNAL_NUMBER(now_s()),
	};

	return change_rows(journal, "INSERT INTO steps (job, name, undo, at) VALUES (?, ?, ?, ?)",
			   values, G_N_ELEMENTS(values), "recording a step", error);
}

int journal_step_clear(struct journal *journal, int64_t job, const char *step, GError **error)
{
	const struct journal_value values[] = {
		JOURNAL_NUMBER(now_s()),
		JOURNAL_NUMBER(job),
		JOURNAL_TEXT(step),
	};

	return change_rows(
		journal,
		"UPDATE steps SET cleared_at = ? WHERE id = (SELECT MAX(id) FROM steps WHERE "
		"job = ? AND name = ? AND cleared_at IS NULL)",
		values, G_N_ELEMENTS(values), "clearing a step", error);
}

int journal_step_clear_id(struct journal *journal, int64_t step, GError **error)
{
	const struct journal_value values[] = {JOURNAL_NUMBER(now_s()), JOURNAL_NUMBER(step)};

	return change_rows(journal, "UPDATE steps SET cleared_at = ? WHERE id = ?", values,
			   G_N_ELEMENTS(values), "clearing a step", error);
}

int journal_step_amend(struct journal *journal, int64_t step, const char *undo, GError **error)
{
	const struct journal_value values[] = {JOURNAL_TEXT(undo), JOURNAL_NUMBER(step)};

	return change_rows(journal, "UPDATE steps SET undo = ? WHERE id = ?", values,
			   G_N_ELEMENTS(values), "changing a step", error);
}
