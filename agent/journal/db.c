/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See db.h.
 */
#include "agent/journal/db.h"

#define DAY_S (24 * 3600)

G_DEFINE_QUARK(journal - error - quark, journal_error)

int journal_db_fail(const struct journal *journal, const char *what, GError **error)
{
	g_set_error(error, JOURNAL_ERROR, JOURNAL_ERROR_FAILED, "%s in the journal %s: %s", what,
		    journal->path, journal->db ? sqlite3_errmsg(journal->db) : "out of memory");
	return -1;
}

int journal_db_execute(struct journal *journal, const char *sql, const char *what, GError **error)
{
	return sqlite3_exec(journal->db, sql, NULL, NULL, NULL) == SQLITE_OK
		       ? 0
		       : journal_db_fail(journal, what, error);
}

static void bind_values(sqlite3_stmt *statement, const struct journal_value *values, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int at = (int)i + 1;

		if (values[i].is_number)
			(void)sqlite3_bind_int64(statement, at, values[i].number);
		else
			(void)sqlite3_bind_text(statement, at, values[i].text, -1, SQLITE_STATIC);
	}
}

sqlite3_stmt *journal_db_prepare(struct journal *journal, const char *sql,
				 const struct journal_value *values, size_t count)
{
	sqlite3_stmt *statement = NULL;

	if (sqlite3_prepare_v2(journal->db, sql, -1, &statement, NULL) != SQLITE_OK)
		return NULL;
	bind_values(statement, values, count);
	return statement;
}

int journal_db_change(struct journal *journal, const char *sql, const struct journal_value *values,
		      size_t count, const char *what, int64_t *ret_id, GError **error)
{
	sqlite3_stmt *statement = journal_db_prepare(journal, sql, values, count);
	int changed = -1;

	if (statement && sqlite3_step(statement) == SQLITE_DONE) {
		changed = sqlite3_changes(journal->db);
		if (ret_id)
			*ret_id = sqlite3_last_insert_rowid(journal->db);
	} else {
		(void)journal_db_fail(journal, what, error);
	}
	(void)sqlite3_finalize(statement);
	return changed;
}

/* A job with an open step is kept, because the step must still be rolled back. */
int journal_db_delete_old(struct journal *journal, unsigned keep_days, GError **error)
{
	int64_t now = g_get_real_time() / G_USEC_PER_SEC;
	const struct journal_value values[] = {JOURNAL_NUMBER(now - (int64_t)keep_days * DAY_S)};

	return journal_db_change(journal,
				 "DELETE FROM jobs WHERE ended_at < ? AND NOT EXISTS (SELECT 1 "
				 "FROM steps WHERE steps.job = jobs.id AND cleared_at IS NULL)",
				 values, G_N_ELEMENTS(values), "deleting old jobs", NULL, error) < 0
		       ? -1
		       : 0;
}
