/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the journal's two files, of writing and of reading, share.
 */
#ifndef NOVASNAP_AGENT_JOURNAL_DB_H
#define NOVASNAP_AGENT_JOURNAL_DB_H

#include <pthread.h>
#include <sqlite3.h>

#include "agent/journal/journal.h"

struct journal {
	char *folder;
	char *path;
	int lock_fd; /* -1: it is not held */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	sqlite3 *db;
	bool committing;     /* the thread that does has the database, without the lock */
	unsigned pending;    /* threads that are about to write */
	struct batch *batch; /* what is written and not committed; NULL: nothing */
};

/* Locks it for the use of its database, which no commit has then. */
void journal_lock(struct journal *journal);

/* What is bound to a statement's `?`. */
struct journal_value {
	bool is_number;
	int64_t number;
	const char *text; /* NULL: SQL's */
};
#define JOURNAL_NUMBER(value)                                                                      \
	{                                                                                          \
		.is_number = true, .number = (value)                                               \
	}
#define JOURNAL_TEXT(value)                                                                        \
	{                                                                                          \
		.text = (value)                                                                    \
	}

/* With the lock held; NULL with SQLite's error. The values must live as long as the statement. */
sqlite3_stmt *journal_prepare(struct journal *journal, const char *sql,
			      const struct journal_value *values, size_t count);
/* SQLite's words as ours. Returns -1. */
int journal_fail(const struct journal *journal, const char *what, GError **error);

#endif
