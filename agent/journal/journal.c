/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing the journal. One connection and one lock; those who write at the same time share a
 * commit, which waits for the disk.
 */
#include "agent/journal/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "agent/journal/db.h"

#define VERSION 1
#define TEXT(value) #value
#define DIGITS(value) TEXT(value)
#define BUSY_MS 10000
#define DAY_S (24 * 3600)

G_DEFINE_QUARK(journal - error - quark, journal_error)

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
			     "PRAGMA user_version = " DIGITS(VERSION) ";"
								      "COMMIT;";

/* What was merely a fact is of no more use, in the very moment that its job ends. */
static const char facts_end[] = "CREATE TRIGGER IF NOT EXISTS facts_end"
				" AFTER UPDATE OF ended_at ON jobs WHEN NEW.ended_at NOT NULL"
				" BEGIN"
				" UPDATE steps SET cleared_at = NEW.ended_at WHERE job = NEW.id"
				" AND undo = '' AND cleared_at IS NULL;"
				" END;";

int journal_fail(const struct journal *journal, const char *what, GError **error)
{
	g_set_error(error, JOURNAL_ERROR, JOURNAL_ERROR_FAILED, "%s in the journal %s: %s", what,
		    journal->path, journal->db ? sqlite3_errmsg(journal->db) : "out of memory");
	return -1;
}

static int run_sql(struct journal *journal, const char *sql, const char *what, GError **error)
{
	return sqlite3_exec(journal->db, sql, NULL, NULL, NULL) == SQLITE_OK
		       ? 0
		       : journal_fail(journal, what, error);
}

/* Binds the values, in order: NULL is SQL's. */
static void bind(sqlite3_stmt *statement, const struct journal_value *values, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int at = (int)i + 1;

		if (values[i].is_number)
			(void)sqlite3_bind_int64(statement, at, values[i].number);
		else
			(void)sqlite3_bind_text(statement, at, values[i].text, -1, SQLITE_STATIC);
	}
}

sqlite3_stmt *journal_prepare(struct journal *journal, const char *sql,
			      const struct journal_value *values, size_t count)
{
	sqlite3_stmt *statement = NULL;

	if (sqlite3_prepare_v2(journal->db, sql, -1, &statement, NULL) != SQLITE_OK)
		return NULL;
	bind(statement, values, count);
	return statement;
}

/* What is committed together. The last one that waits for it frees it. */
struct batch {
	unsigned waiting;
	bool done;
	char *failure; /* NULL: it is on the disk */
};

void journal_lock(struct journal *journal)
{
	pthread_mutex_lock(&journal->lock);
	while (journal->committing)
		pthread_cond_wait(&journal->changed, &journal->lock);
}

static void end_batch(struct journal *journal, const char *failure)
{
	journal->batch->done = true;
	journal->batch->failure = g_strdup(failure);
	journal->batch = NULL;
	pthread_cond_broadcast(&journal->changed);
}

static void fail_batch(struct journal *journal)
{
	struct batch *batch = journal->batch;

	end_batch(journal, sqlite3_errmsg(journal->db));
	if (batch->waiting == 0) {
		g_free(batch->failure);
		g_free(batch);
	}
}

/* With the lock held, which is given up for the time that the disk takes. */
static void commit(struct journal *journal)
{
	g_autofree char *failure = NULL;

	journal->committing = true;
	pthread_mutex_unlock(&journal->lock);
	if (sqlite3_exec(journal->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK) {
		failure = g_strdup(sqlite3_errmsg(journal->db));
		(void)sqlite3_exec(journal->db, "ROLLBACK", NULL, NULL, NULL);
	}
	pthread_mutex_lock(&journal->lock);
	journal->committing = false;
	end_batch(journal, failure);
}

static int run_statement(struct journal *journal, const char *sql,
			 const struct journal_value *values, size_t count, const char *what,
			 int64_t *ret_id, GError **error)
{
	sqlite3_stmt *statement = journal_prepare(journal, sql, values, count);
	int changed = -1;

	if (statement && sqlite3_step(statement) == SQLITE_DONE) {
		changed = sqlite3_changes(journal->db);
		if (ret_id)
			*ret_id = sqlite3_last_insert_rowid(journal->db);
	} else {
		(void)journal_fail(journal, what, error);
	}
	(void)sqlite3_finalize(statement);
	return changed;
}

/* The last of those who write just now commits for all. With the lock held. */
static int wait_for_disk(struct journal *journal, const char *what, GError **error)
{
	struct batch *batch = journal->batch;
	int rc = 0;

	batch->waiting++;
	if (journal->pending == 0)
		commit(journal);
	while (!batch->done)
		pthread_cond_wait(&journal->changed, &journal->lock);
	if (batch->failure) {
		g_set_error(error, JOURNAL_ERROR, JOURNAL_ERROR_FAILED, "%s in the journal %s: %s",
			    what, journal->path, batch->failure);
		rc = -1;
	}
	if (--batch->waiting == 0) {
		g_free(batch->failure);
		g_free(batch);
	}
	return rc;
}

/* How many rows a statement changed, once it is on the disk; or -1. */
static int write_row(struct journal *journal, const char *sql, const struct journal_value *values,
		     size_t count, const char *what, int64_t *ret_id, GError **error)
{
	int changed = -1;

	pthread_mutex_lock(&journal->lock);
	journal->pending++;
	while (journal->committing)
		pthread_cond_wait(&journal->changed, &journal->lock);
	journal->pending--;
	if (journal->batch || run_sql(journal, "BEGIN IMMEDIATE", what, error) == 0) {
		if (!journal->batch)
			journal->batch = g_new0(struct batch, 1);
		changed = run_statement(journal, sql, values, count, what, ret_id, error);
		/* A full disk takes back what others wrote too. */
		if (changed < 0 && sqlite3_get_autocommit(journal->db))
			fail_batch(journal);
		else if (wait_for_disk(journal, what, changed < 0 ? NULL : error) < 0)
			changed = -1;
	}
	pthread_mutex_unlock(&journal->lock);
	return changed;
}

/* GLib's MIN would write twice. */
static int outcome(int changed)
{
	return changed < 0 ? -1 : 0;
}

static int64_t now_s(void)
{
	return g_get_real_time() / G_USEC_PER_SEC;
}

int journal_add(struct journal *journal, const struct journal_cast *cast, int64_t *ret_job,
		GError **error)
{
	const struct journal_value values[] = {
		JOURNAL_TEXT(cast->unique_id), JOURNAL_TEXT(cast->method),
		JOURNAL_TEXT(cast->instance),  JOURNAL_TEXT(cast->image),
		JOURNAL_TEXT(cast->message),   JOURNAL_NUMBER(now_s()),
	};

	return write_row(journal,
			 "INSERT INTO jobs (unique_id, method, instance, image, message, came_at, "
			 "runs) VALUES (?, ?, ?, ?, ?, ?, 1) ON CONFLICT (unique_id) DO NOTHING",
			 values, G_N_ELEMENTS(values), "noting a cast", ret_job, error);
}

int journal_run(struct journal *journal, int64_t job, GError **error)
{
	const struct journal_value values[] = {JOURNAL_NUMBER(job)};

	return outcome(write_row(journal, "UPDATE jobs SET runs = runs + 1 WHERE id = ?", values,
				 G_N_ELEMENTS(values), "noting a job's run", NULL, error));
}

int journal_step(struct journal *journal, int64_t job, const char *step, const char *undo,
		 GError **error)
{
	const struct journal_value values[] = {
		JOURNAL_NUMBER(job),
		JOURNAL_TEXT(step),
		JOURNAL_TEXT(undo),
		JOURNAL_NUMBER(now_s()),
	};

	return outcome(write_row(journal,
				 "INSERT INTO steps (job, name, undo, at) VALUES (?, ?, ?, ?)",
				 values, G_N_ELEMENTS(values), "noting a step", NULL, error));
}

int journal_clear(struct journal *journal, int64_t job, const char *step, GError **error)
{
	const struct journal_value values[] = {
		JOURNAL_NUMBER(now_s()),
		JOURNAL_NUMBER(job),
		JOURNAL_TEXT(step),
	};

	return outcome(write_row(journal,
				 "UPDATE steps SET cleared_at = ? WHERE id = (SELECT MAX(id) FROM "
				 "steps WHERE job = ? AND name = ? AND cleared_at IS NULL)",
				 values, G_N_ELEMENTS(values), "noting that a step is over", NULL,
				 error));
}

int journal_clear_step(struct journal *journal, int64_t step, GError **error)
{
	const struct journal_value values[] = {JOURNAL_NUMBER(now_s()), JOURNAL_NUMBER(step)};

	return outcome(write_row(journal, "UPDATE steps SET cleared_at = ? WHERE id = ?", values,
				 G_N_ELEMENTS(values), "noting that a step is over", NULL, error));
}

int journal_amend_step(struct journal *journal, int64_t step, const char *undo, GError **error)
{
	const struct journal_value values[] = {JOURNAL_TEXT(undo), JOURNAL_NUMBER(step)};

	return outcome(write_row(journal, "UPDATE steps SET undo = ? WHERE id = ?", values,
				 G_N_ELEMENTS(values), "noting a step", NULL, error));
}

int journal_fail_job(struct journal *journal, int64_t job, const char *reason, GError **error)
{
	const struct journal_value values[] = {JOURNAL_TEXT(reason), JOURNAL_NUMBER(job)};

	return outcome(write_row(journal, "UPDATE jobs SET reason = ? WHERE id = ?", values,
				 G_N_ELEMENTS(values), "noting a job's failure", NULL, error));
}

int journal_end(struct journal *journal, int64_t job, const char *reason, GError **error)
{
	const struct journal_value values[] = {
		JOURNAL_NUMBER(now_s()),
		JOURNAL_TEXT(reason),
		JOURNAL_NUMBER(job),
	};

	return outcome(write_row(journal, "UPDATE jobs SET ended_at = ?, reason = ? WHERE id = ?",
				 values, G_N_ELEMENTS(values), "noting a job's end", NULL, error));
}

/* What has an open step is kept: somebody may still need it. */
static int forget_old(struct journal *journal, unsigned keep_days, GError **error)
{
	const struct journal_value values[] = {
		JOURNAL_NUMBER(now_s() - (int64_t)keep_days * DAY_S)};

	return outcome(
		write_row(journal,
			  "DELETE FROM jobs WHERE ended_at < ? AND NOT EXISTS (SELECT 1 FROM "
			  "steps WHERE steps.job = jobs.id AND cleared_at IS NULL)",
			  values, G_N_ELEMENTS(values), "forgetting what is old", NULL, error));
}

static int read_version(struct journal *journal, GError **error)
{
	sqlite3_stmt *statement = journal_prepare(journal, "PRAGMA user_version", NULL, 0);
	int version = statement && sqlite3_step(statement) == SQLITE_ROW
			      ? sqlite3_column_int(statement, 0)
			      : journal_fail(journal, "reading the version", error);

	(void)sqlite3_finalize(statement);
	if (version <= VERSION)
		return version;
	g_set_error(error, JOURNAL_ERROR, JOURNAL_ERROR_FAILED,
		    "the journal %s is of version %d, of a newer novasnapd: this one knows %d",
		    journal->path, version, VERSION);
	return -1;
}

static struct journal *open_db(const char *state_dir, int flags, GError **error)
{
	struct journal *journal = g_new0(struct journal, 1);

	journal->lock_fd = -1;
	pthread_mutex_init(&journal->lock, NULL);
	pthread_cond_init(&journal->changed, NULL);
	journal->folder = g_build_filename(state_dir, "journal", NULL);
	journal->path = g_build_filename(journal->folder, "journal.db", NULL);
	if ((flags & SQLITE_OPEN_CREATE) && g_mkdir_with_parents(journal->folder, 0700) < 0)
		g_set_error(error, JOURNAL_ERROR, JOURNAL_ERROR_FAILED, "making the folder %s: %s",
			    journal->folder, g_strerror(errno));
	else if (sqlite3_open_v2(journal->path, &journal->db, flags | SQLITE_OPEN_NOMUTEX, NULL) !=
		 SQLITE_OK)
		(void)journal_fail(journal, "opening", error);
	else if (sqlite3_busy_timeout(journal->db, BUSY_MS) == SQLITE_OK)
		return journal;
	journal_close(journal);
	return NULL;
}

/* Two that recover each other's jobs would end what lives. */
static int hold(struct journal *journal, GError **error)
{
	g_autofree char *path = g_build_filename(journal->folder, "lock", NULL);

	journal->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (journal->lock_fd >= 0 && flock(journal->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	g_set_error(error, JOURNAL_ERROR, JOURNAL_ERROR_BUSY,
		    "the journal %s is in use (%s): another novasnapd runs with this state_dir",
		    journal->path, g_strerror(errno));
	return -1;
}

static int prepare(struct journal *journal, unsigned keep_days, GError **error)
{
	int version;

	if (run_sql(journal,
		    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = "
		    "ON;",
		    "setting up", error) < 0)
		return -1;
	version = read_version(journal, error);
	if (version < 0 ||
	    (version == 0 && run_sql(journal, schema, "making the tables", error) < 0) ||
	    run_sql(journal, facts_end, "making a trigger", error) < 0)
		return -1;
	return forget_old(journal, keep_days, error);
}

struct journal *journal_open(const char *state_dir, unsigned keep_days, GError **error)
{
	struct journal *journal =
		open_db(state_dir, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, error);

	if (!journal)
		return NULL;
	if (hold(journal, error) == 0 && prepare(journal, keep_days, error) == 0)
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
	pthread_cond_destroy(&journal->changed);
	pthread_mutex_destroy(&journal->lock);
	g_free(journal->folder);
	g_free(journal->path);
	g_free(journal);
}
