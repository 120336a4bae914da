/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal's database: common code for opening, writing and reading it.
 */
#ifndef NOVASNAP_AGENT_JOURNAL_DB_H
#define NOVASNAP_AGENT_JOURNAL_DB_H

#include <pthread.h>
#include <sqlite3.h>

#include "agent/journal/journal.h"

struct journal {
	char *folder;
	char *path;
	int lock_fd; /* of the lock file; -1: not locked */
	pthread_mutex_t lock;
	sqlite3 *db; /* guarded by the lock */
};

/* A value for a statement's `?`. */
struct journal_value {
	bool is_number;
	int64_t number;
	const char *text; /* NULL: SQL's NULL */
};
#define JOURNAL_NUMBER(value)                                                                      \
	{                                                                                          \
		.is_number = true, .number = (value)                                               \
	}
#define JOURNAL_TEXT(value)                                                                        \
	{                                                                                          \
		.text = (value)                                                                    \
	}

/* Call the functions below with the lock held, or before other threads know the journal. */

/* NULL on failure; journal_db_fail then sets the error. The values must outlive the statement. */
sqlite3_stmt *journal_db_prepare(struct journal *journal, const char *sql,
				 const struct journal_value *values, size_t count);
/* Runs one statement that changes rows. `what` is for the error: "journaling a step". Returns how
 * many rows it changed, or -1 with JOURNAL_ERROR_FAILED. `ret_id`: the number of the inserted row;
 * may be NULL. */
int journal_db_change(struct journal *journal, const char *sql, const struct journal_value *values,
		      size_t count, const char *what, int64_t *ret_id, GError **error);
/* Runs statements without values. Returns 0, or -1 with JOURNAL_ERROR_FAILED. */
int journal_db_execute(struct journal *journal, const char *sql, const char *what, GError **error);
/* See journal_prune. */
int journal_db_delete_old(struct journal *journal, unsigned keep_days, GError **error);
/* Sets JOURNAL_ERROR_FAILED with SQLite's message. Returns -1. */
int journal_db_fail(const struct journal *journal, const char *what, GError **error);

#endif
