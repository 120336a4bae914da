/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal: what was written is there when it is opened again.
 */
#include <glib/gstdio.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/journal/db.h"
#include "tests/unit/journal-folder.h"

#define IMAGE "8a2f4c1e-0000-4000-8000-000000000001"
#define INSTANCE "8a2f4c1e-0000-4000-8000-000000000002"

struct fixture {
	char *dir;
	struct journal *journal;
};

static void open_journal(struct fixture *fixture)
{
	g_autoptr(GError) error = NULL;

	fixture->journal = journal_open(fixture->dir, 30, &error);
	g_assert_no_error(error);
}

static void set_up(struct fixture *fixture, gconstpointer data)
{
	(void)data;
	fixture->dir = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	open_journal(fixture);
}

static void reopen(struct fixture *fixture)
{
	journal_close(fixture->journal);
	open_journal(fixture);
}

static void tear_down(struct fixture *fixture, gconstpointer data)
{
	(void)data;
	journal_close(fixture->journal);
	journal_folder_remove(fixture->dir);
	g_assert_false(g_file_test(fixture->dir, G_FILE_TEST_EXISTS));
	g_free(fixture->dir);
}

static int64_t add(struct fixture *fixture, const char *unique_id)
{
	struct journal_cast cast = {unique_id, "snapshot_instance", INSTANCE, IMAGE, "{}", 0};
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(journal_casts_add(fixture->journal, &cast, 1, &error), ==, 0);
	g_assert_no_error(error);
	g_assert_cmpint(cast.job, >, 0);
	return cast.job;
}

static GPtrArray *list(struct fixture *fixture, enum journal_which which, guint expected)
{
	g_autoptr(GError) error = NULL;
	GPtrArray *jobs = journal_list(fixture->journal, which, 0, &error);

	g_assert_no_error(error);
	g_assert_cmpuint(jobs->len, ==, expected);
	return jobs;
}

static void test_cast(struct fixture *fixture, gconstpointer data)
{
	struct journal_cast again = {"one", "pause_instance", INSTANCE, NULL, "{}", 7};
	int64_t job = add(fixture, "one");
	g_autoptr(GPtrArray) jobs = NULL;
	const struct journal_job *found;

	(void)data;
	g_assert_cmpint(journal_casts_add(fixture->journal, &again, 1, NULL), ==, 0);
	g_assert_cmpint(again.job, ==, 0);
	g_assert_cmpint(add(fixture, NULL), >, job);
	g_assert_cmpint(add(fixture, NULL), >, job);
	reopen(fixture);
	again.job = 7;
	g_assert_cmpint(journal_casts_add(fixture->journal, &again, 1, NULL), ==, 0);
	g_assert_cmpint(again.job, ==, 0);
	jobs = list(fixture, JOURNAL_OPEN, 3);
	found = jobs->pdata[0];
	g_assert_cmpint(found->id, ==, job);
	g_assert_cmpstr(found->unique_id, ==, "one");
	g_assert_cmpstr(found->method, ==, "snapshot_instance");
	g_assert_cmpstr(found->instance, ==, INSTANCE);
	g_assert_cmpstr(found->image, ==, IMAGE);
	g_assert_cmpstr(found->message, ==, "{}");
	g_assert_cmpuint(found->runs, ==, 0);
	g_assert_cmpint(found->ended_at, ==, 0);
}

static void test_batch(struct fixture *fixture, gconstpointer data)
{
	struct journal_cast casts[] = {
		{"one", "snapshot_instance", INSTANCE, IMAGE, "{}", 0},
		{"two", "snapshot_instance", INSTANCE, IMAGE, "{}", 0},
		{"one", "snapshot_instance", INSTANCE, IMAGE, "{}", 7},
	};

	(void)data;
	g_assert_cmpint(journal_casts_add(fixture->journal, casts, G_N_ELEMENTS(casts), NULL), ==,
			0);
	g_assert_cmpint(casts[0].job, >, 0);
	g_assert_cmpint(casts[1].job, >, casts[0].job);
	g_assert_cmpint(casts[2].job, ==, 0);
	g_ptr_array_unref(list(fixture, JOURNAL_OPEN, 2));
}

static void test_steps(struct fixture *fixture, gconstpointer data)
{
	int64_t job = add(fixture, "one");
	g_autoptr(GPtrArray) jobs = NULL;
	const struct journal_step *step;
	const struct journal_job *found;

	(void)data;
	g_assert_cmpint(journal_step_add(fixture->journal, job, "save", "{\"paused\":true}", NULL),
			==, 0);
	g_assert_cmpint(journal_step_add(fixture->journal, job, "upload", "", NULL), ==, 0);
	g_assert_cmpint(journal_step_add(fixture->journal, job, "folder", "{}", NULL), ==, 0);
	g_assert_cmpint(journal_step_clear(fixture->journal, job, "folder", NULL), ==, 0);
	g_assert_cmpint(journal_job_run(fixture->journal, job, NULL), ==, 0);
	reopen(fixture);
	jobs = list(fixture, JOURNAL_OPEN, 1);
	found = jobs->pdata[0];
	g_assert_cmpuint(found->runs, ==, 1);
	g_assert_cmpuint(found->steps->len, ==, 3);
	step = found->steps->pdata[0];
	g_assert_cmpstr(step->name, ==, "save");
	g_assert_cmpstr(step->undo, ==, "{\"paused\":true}");
	g_assert_false(step->cleared);
	step = found->steps->pdata[2];
	g_assert_true(step->cleared);
}

static void test_end(struct fixture *fixture, gconstpointer data)
{
	int64_t good = add(fixture, "good"), bad = add(fixture, "bad");
	g_autoptr(journal_job_t) job = NULL;
	g_autofree char *number = g_strdup_printf("%" G_GINT64_FORMAT, good);

	(void)data;
	g_assert_cmpint(journal_step_add(fixture->journal, good, "whole", "", NULL), ==, 0);
	g_assert_cmpint(journal_step_add(fixture->journal, bad, "copy", "{}", NULL), ==, 0);
	g_assert_cmpint(journal_job_end(fixture->journal, good, NULL, NULL), ==, 0);
	g_assert_cmpint(journal_job_end(fixture->journal, bad, "the disk is full", NULL), ==, 0);
	g_ptr_array_unref(list(fixture, JOURNAL_OPEN, 0));
	/* A step is a leftover until it is cleared; a fact is none. */
	g_ptr_array_unref(list(fixture, JOURNAL_LEFTOVERS, 1));
	g_ptr_array_unref(list(fixture, JOURNAL_UNFINISHED, 1));
	g_assert_cmpint(journal_step_clear(fixture->journal, bad, "copy", NULL), ==, 0);
	g_ptr_array_unref(list(fixture, JOURNAL_LEFTOVERS, 0));
	g_ptr_array_unref(list(fixture, JOURNAL_UNFINISHED, 0));
	g_ptr_array_unref(list(fixture, JOURNAL_ALL, 2));
	job = journal_find(fixture->journal, IMAGE, NULL);
	g_assert_cmpint(job->id, ==, bad);
	g_assert_cmpstr(job->reason, ==, "the disk is full");
	g_clear_pointer(&job, journal_job_free);
	job = journal_find(fixture->journal, number, NULL);
	g_assert_cmpint(job->id, ==, good);
	g_assert_null(job->reason);
	g_assert_null(journal_find(fixture->journal, "another", NULL));
}

#define THREADS 16
#define EACH 20

static void *write_many(void *opaque)
{
	struct fixture *fixture = opaque;

	for (int i = 0; i < EACH; i++) {
		int64_t job = add(fixture, NULL);

		g_assert_cmpint(journal_step_add(fixture->journal, job, "copy", "{}", NULL), ==, 0);
		g_assert_cmpint(journal_step_clear(fixture->journal, job, "copy", NULL), ==, 0);
		g_assert_cmpint(journal_job_end(fixture->journal, job, NULL, NULL), ==, 0);
		if (i % 5 == 0)
			g_ptr_array_unref(list(fixture, JOURNAL_LEFTOVERS, 0));
	}
	return NULL;
}

static void test_many(struct fixture *fixture, gconstpointer data)
{
	pthread_t threads[THREADS];
	GPtrArray *jobs;

	(void)data;
	for (int i = 0; i < THREADS; i++)
		g_assert_cmpint(pthread_create(&threads[i], NULL, write_many, fixture), ==, 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	reopen(fixture);
	jobs = list(fixture, JOURNAL_ALL, THREADS * EACH);
	for (guint i = 0; i < jobs->len; i++) {
		const struct journal_job *job = jobs->pdata[i];

		g_assert_cmpint(job->ended_at, >, 0);
		g_assert_cmpuint(job->steps->len, ==, 1);
	}
	g_ptr_array_unref(jobs);
	g_ptr_array_unref(list(fixture, JOURNAL_OPEN, 0));
}

/* As when the disk is full. Casts are added all together or not at all, and what was written before
 * stays. */
static void test_full(struct fixture *fixture, gconstpointer data)
{
	g_autofree char *text = g_strnfill(1 << 20, 'x');
	struct journal_cast big[] = {
		{"fits", "snapshot_instance", INSTANCE, IMAGE, "{}", 0},
		{"big", "snapshot_instance", INSTANCE, IMAGE, text, 0},
	};
	g_autoptr(GError) error = NULL;
	int64_t small = add(fixture, "small");

	(void)data;
	g_assert_cmpint(
		sqlite3_exec(fixture->journal->db, "PRAGMA max_page_count = 20", NULL, NULL, NULL),
		==, SQLITE_OK);
	g_assert_cmpint(journal_casts_add(fixture->journal, big, 2, &error), ==, -1);
	g_assert_error(error, JOURNAL_ERROR, JOURNAL_ERROR_FAILED);
	g_clear_error(&error);
	g_assert_cmpint(journal_step_add(fixture->journal, small, "copy", text, &error), ==, -1);
	g_assert_error(error, JOURNAL_ERROR, JOURNAL_ERROR_FAILED);
	g_clear_error(&error);
	g_assert_cmpint(sqlite3_exec(fixture->journal->db, "PRAGMA max_page_count = 100000", NULL,
				     NULL, NULL),
			==, SQLITE_OK);
	g_assert_cmpint(journal_casts_add(fixture->journal, big, 2, &error), ==, 0);
	g_assert_no_error(error);
	g_assert_cmpint(big[0].job, >, small);
	g_assert_cmpint(big[1].job, >, big[0].job);
	reopen(fixture);
	g_ptr_array_unref(list(fixture, JOURNAL_OPEN, 3));
}

static void run_sql(struct fixture *fixture, const char *sql)
{
	g_autofree char *path = g_build_filename(fixture->dir, "journal", "journal.db", NULL);
	sqlite3 *db;

	g_assert_cmpint(sqlite3_open(path, &db), ==, SQLITE_OK);
	g_assert_cmpint(sqlite3_exec(db, sql, NULL, NULL, NULL), ==, SQLITE_OK);
	g_assert_cmpint(sqlite3_close(db), ==, SQLITE_OK);
}

static void test_old(struct fixture *fixture, gconstpointer data)
{
	int64_t old = add(fixture, "old"), left = add(fixture, "left");

	(void)data;
	(void)add(fixture, "open");
	g_assert_cmpint(journal_step_add(fixture->journal, left, "copy", "{}", NULL), ==, 0);
	g_assert_cmpint(journal_job_end(fixture->journal, old, NULL, NULL), ==, 0);
	g_assert_cmpint(journal_job_end(fixture->journal, left, NULL, NULL), ==, 0);
	run_sql(fixture, "UPDATE jobs SET came_at = 1, ended_at = 1 WHERE ended_at IS NOT NULL;"
			 "UPDATE jobs SET came_at = 1");
	reopen(fixture);
	g_ptr_array_unref(list(fixture, JOURNAL_ALL, 2));
	g_ptr_array_unref(list(fixture, JOURNAL_LEFTOVERS, 1));
}

/* The clock was set back since. Jobs of the future are not deleted as old, and the newest job is
 * the one that was added last. */
static void test_clock(struct fixture *fixture, gconstpointer data)
{
	int64_t ended = add(fixture, "ended"), left = add(fixture, "left"), later;
	g_autoptr(journal_job_t) newest = NULL;

	(void)data;
	(void)add(fixture, "open");
	g_assert_cmpint(journal_step_add(fixture->journal, left, "copy", "{}", NULL), ==, 0);
	g_assert_cmpint(journal_job_end(fixture->journal, ended, NULL, NULL), ==, 0);
	g_assert_cmpint(journal_job_end(fixture->journal, left, NULL, NULL), ==, 0);
	run_sql(fixture, "UPDATE jobs SET came_at = 4102444800;"
			 "UPDATE jobs SET ended_at = 4102444800 WHERE ended_at IS NOT NULL;"
			 "UPDATE steps SET at = 4102444800");
	reopen(fixture);
	later = add(fixture, "later");
	g_ptr_array_unref(list(fixture, JOURNAL_ALL, 4));
	g_ptr_array_unref(list(fixture, JOURNAL_OPEN, 2));
	g_ptr_array_unref(list(fixture, JOURNAL_LEFTOVERS, 1));
	g_ptr_array_unref(list(fixture, JOURNAL_UNFINISHED, 3));
	newest = journal_find(fixture->journal, IMAGE, NULL);
	g_assert_cmpint(newest->id, ==, later);
}

static void test_others(struct fixture *fixture, gconstpointer data)
{
	g_autofree char *folder = g_build_filename(fixture->dir, "journal", NULL);
	g_autoptr(GError) error = NULL;
	g_autoptr(journal_t) reader = NULL;
	struct stat status;

	(void)data;
	(void)add(fixture, "one");
	g_assert_null(journal_open(fixture->dir, 30, &error));
	g_assert_error(error, JOURNAL_ERROR, JOURNAL_ERROR_BUSY);
	g_clear_error(&error);
	reader = journal_open_to_read(fixture->dir, &error);
	g_assert_no_error(error);
	g_ptr_array_unref(journal_list(reader, JOURNAL_ALL, 0, &error));
	g_assert_no_error(error);
	g_assert_cmpint(g_stat(folder, &status), ==, 0);
	g_assert_cmpint(status.st_mode & 0777, ==, 0700);
}

/* Old jobs are also deleted while the journal is open. */
static void test_prune(struct fixture *fixture, gconstpointer data)
{
	int64_t old = add(fixture, "old"), left = add(fixture, "left"), open = add(fixture, "open");
	g_autoptr(GPtrArray) jobs = NULL;

	(void)data;
	g_assert_cmpint(journal_step_add(fixture->journal, left, "folder", "{}", NULL), ==, 0);
	g_assert_cmpint(journal_job_end(fixture->journal, old, NULL, NULL), ==, 0);
	g_assert_cmpint(journal_job_end(fixture->journal, left, NULL, NULL), ==, 0);
	g_assert_cmpint(journal_prune(fixture->journal, 30, NULL), ==, 0);
	g_ptr_array_unref(list(fixture, JOURNAL_ALL, 3));
	run_sql(fixture, "UPDATE jobs SET ended_at = 1000 WHERE ended_at NOT NULL");
	g_assert_cmpint(journal_prune(fixture->journal, 30, NULL), ==, 0);
	jobs = list(fixture, JOURNAL_ALL, 2);
	g_assert_cmpint(((struct journal_job *)jobs->pdata[0])->id, ==, open);
	g_assert_cmpint(((struct journal_job *)jobs->pdata[1])->id, ==, left);
}

static void limit_pages(struct fixture *fixture, const char *pages)
{
	g_autofree char *sql = g_strdup_printf("PRAGMA max_page_count = %s", pages);

	g_assert_cmpint(sqlite3_exec(fixture->journal->db, sql, NULL, NULL, NULL), ==, SQLITE_OK);
}

static void test_reserve(struct fixture *fixture, gconstpointer data)
{
	g_autoptr(GError) error = NULL;

	(void)data;
	limit_pages(fixture, "40");
	g_assert_cmpint(journal_reserve(fixture->journal, 1 << 20, &error), ==, -1);
	g_assert_error(error, JOURNAL_ERROR, JOURNAL_ERROR_FAILED);
	/* Other changes are not affected. */
	(void)add(fixture, "one");
	limit_pages(fixture, "400");
	g_assert_cmpint(journal_reserve(fixture->journal, 1 << 20, NULL), ==, 0);
	/* The room is free again, and stays there. */
	limit_pages(fixture, "10");
	g_assert_cmpint(journal_reserve(fixture->journal, 1 << 20, NULL), ==, 0);
	(void)add(fixture, "two");
	g_ptr_array_unref(list(fixture, JOURNAL_ALL, 2));
}

static void test_newer(struct fixture *fixture, gconstpointer data)
{
	g_autoptr(GError) error = NULL;

	(void)data;
	g_clear_pointer(&fixture->journal, journal_close);
	run_sql(fixture, "PRAGMA user_version = 2");
	g_assert_null(journal_open(fixture->dir, 30, &error));
	g_assert_error(error, JOURNAL_ERROR, JOURNAL_ERROR_FAILED);
	g_assert_nonnull(strstr(error->message, "newer"));
}

static void test_nonsense(struct fixture *fixture, gconstpointer data)
{
	g_autofree char *path = g_build_filename(fixture->dir, "journal", "journal.db", NULL);
	g_autoptr(GError) error = NULL;

	(void)data;
	g_clear_pointer(&fixture->journal, journal_close);
	g_assert_true(g_file_set_contents(path, "this is no database, but a text", -1, NULL));
	g_assert_null(journal_open(fixture->dir, 30, &error));
	g_assert_error(error, JOURNAL_ERROR, JOURNAL_ERROR_FAILED);
	g_assert_nonnull(strstr(error->message, path));
}

#define TEST(name, function)                                                                       \
	g_test_add("/journal/" name, struct fixture, NULL, set_up, function, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST("a cast is added once", test_cast);
	TEST("a cast that is twice in a batch is added once", test_batch);
	TEST("steps", test_steps);
	TEST("ended jobs and leftovers", test_end);
	TEST("many threads", test_many);
	TEST("a full disk", test_full);
	TEST("old jobs are deleted", test_old);
	TEST("old jobs are deleted while it is open", test_prune);
	TEST("room is reserved", test_reserve);
	TEST("jobs of the future", test_clock);
	TEST("a second process", test_others);
	TEST("a newer version", test_newer);
	TEST("a file that is no database", test_nonsense);
	return g_test_run();
}
