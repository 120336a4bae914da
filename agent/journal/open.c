/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opens the journal.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "agent/journal/db.h"

#define JOURNAL_VERSION 1
#define TEXT(value) #value
#define DIGITS(value) TEXT(value)
#define BUSY_MS 10000

static const char schema[] = "BEGIN IMMEDIATE;"
			     "CREATE TABLE jobs ("
			     " id INTEGER PRIMARY KEY AUTOINCREMENT,"
			     " unique_id TEXT UNIQUE,"
			     " method TEXT NOT NULL,"
			     " instance TEXT NOT NULL,"
			     " image TEXT,"
			     " message TEXT NOT NULL,"
			     " runs INTEGER NOT NULL DEFAULT 0,"
			     " came_at INTEGER NOT NULL,"
			     " ended_at INTEGER,"
			     " reason TEXT);"
			     "CREATE INDEX jobs_by_end ON jobs (ended_at);"
			     "CREATE TABLE steps ("
			     " id INTEGER PRIMARY KEY AUTOINCREMENT,"
			     " job INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,"
			     " name TEXT NOT NULL,"
			     " undo TEXT NOT NULL,"
			     " at INTEGER NOT NULL,"
			     " cleared_at INTEGER);"
			     "CREATE INDEX steps_by_job ON steps (job);"
			     "CREATE INDEX steps_open ON steps (job) WHERE cleared_at IS NULL;"
			     "PRAGMA user_version = " DIGITS(JOURNAL_VERSION) ";"
									      "COMMIT;";

/* Facts are useless once their job has ended, so both change at once. */
static const char facts_end[] = "CREATE TRIGGER IF NOT EXISTS facts_end"
				" AFTER UPDATE OF ended_at ON jobs WHEN NEW.ended_at NOT NULL"
				" BEGIN"
				" UPDATE steps SET cleared_at = NEW.ended_at WHERE job = NEW.id"
				" AND undo = '' AND cleared_at IS NULL;"
				" END;";

static int read_version(struct journal *journal, GError **error)
{
	sqlite3_stmt *statement = journal_db_prepare(journal, "PRAGMA user_version", NULL, 0);
	int version = statement && sqlite3_step(statement) == SQLITE_ROW
			      ? sqlite3_column_int(statement, 0)
			      : journal_db_fail(journal, "reading the version", error);

	(void)sqlite3_finalize(statement);
	if (version <= JOURNAL_VERSION)
		return version;
	g_set_error(error, JOURNAL_ERROR, JOURNAL_ERROR_FAILED,
		    "the journal %s has version %d, from a newer novasnapd: this one supports "
		    "version %d",
		    journal->path, version, JOURNAL_VERSION);
	return -1;
}

static struct journal *open_db(const char *state_dir, int flags, GError **error)
{
	struct journal *journal = g_new0(struct journal, 1);

	journal->lock_fd = -1;
	pthread_mutex_init(&journal->lock, NULL);
	journal->folder = g_build_filename(state_dir, "journal", NULL);
	journal->path = g_build_filename(journal->folder, "journal.db", NULL);
	if ((flags & SQLITE_OPEN_CREATE) && g_mkdir_with_parents(journal->folder, 0700) < 0)
		g_set_error(error, JOURNAL_ERROR, JOURNAL_ERROR_FAILED,
			    "creating the folder %s: %s", journal->folder, g_strerror(errno));
	else if (sqlite3_open_v2(journal->path, &journal->db, flags | SQLITE_OPEN_NOMUTEX, NULL) !=
		 SQLITE_OK)
		(void)journal_db_fail(journal, "opening", error);
	else if (sqlite3_busy_timeout(journal->db, BUSY_MS) == SQLITE_OK)
		return journal;
	journal_close(journal);
	return NULL;
}

/* If two processes recovered each other's jobs, they would end running ones. */
static int lock_journal(struct journal *journal, GError **error)
{
	g_autofree char *path = g_build_filename(journal->folder, "lock", NULL);

	journal->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (journal->lock_fd >= 0 && flock(journal->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	g_set_error(
		error, JOURNAL_ERROR, JOURNAL_ERROR_BUSY,
		"the journal %s is in use (%s): another novasnapd is running with this state_dir",
		journal->path, g_strerror(errno));
	return -1;
}

static int prepare_db(struct journal *journal, unsigned keep_days, GError **error)
{
	int version;

	if (journal_db_execute(journal,
			       "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; "
			       "PRAGMA foreign_keys = ON;",
			       "setting up", error) < 0)
		return -1;
	version = read_version(journal, error);
	if (version < 0 ||
	    (version == 0 &&
	     journal_db_execute(journal, schema, "creating the tables", error) < 0) ||
	    journal_db_execute(journal, facts_end, "creating a trigger", error) < 0)
		return -1;
	return journal_db_delete_old(journal, keep_days, error);
}

struct journal *journal_open(const char *state_dir, unsigned keep_days, GError **error)
{
	struct journal *journal =
		open_db(state_dir, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, error);

	if (!journal)
		return NULL;
	if (lock_journal(journal, error) == 0 && prepare_db(journal, keep_days, error) == 0)
		return journal;
	journal_close(journal);
	return NULL;
}

struct journal *journal_open_to_read(const char *state_dir, GError **error)
{
	struct journal *journal = open_db(state_dir, SQLITE_OPEN_READONLY, error);

	if (journal && read_version(journal, error) >= 0)
		return journal;
	journal_close(journal);
	return NULL;
}

void journal_close(struct journal *journal)
{
	if (!journal)
		return;
	(void)sqlite3_close(journal->db);
	if (journal->lock_fd >= 0)
		(void)close(journal->lock_fd);
	pthread_mutex_destroy(&journal->lock);
	g_free(journal->folder);
	g_free(journal->path);
	g_free(journal);
}

uint64_t journal_size(const struct journal *journal)
{
	g_autofree char *wal = g_strconcat(journal->path, "-wal", NULL);
	GStatBuf status;
	uint64_t size = 0;

	if (g_stat(journal->path, &status) == 0)
		size += (uint64_t)status.st_size;
	if (g_stat(wal, &status) == 0)
		size += (uint64_t)status.st_size;
	return size;
}
