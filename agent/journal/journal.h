/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal records each cast before it is acked, and each step of its job before its effect,
 * with the data to roll it back. It is a SQLite database; a change is on disk when its call
 * returns. Jobs that are open when novasnapd starts were left by an earlier process
 * (agent/recovery). Any thread may use it.
 */
#ifndef NOVASNAP_AGENT_JOURNAL_H
#define NOVASNAP_AGENT_JOURNAL_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define JOURNAL_ERROR journal_error_quark()
GQuark journal_error_quark(void);

enum journal_error {
	JOURNAL_ERROR_FAILED, /* it cannot be read or written; the text includes SQLite's message */
	JOURNAL_ERROR_BUSY,   /* another novasnapd uses it */
};

struct journal;

/* Opens or creates journal/journal.db in `state_dir`, and locks it against other writing processes.
 * Deletes jobs that ended more than `keep_days` days ago. NULL with an error. */
struct journal *journal_open(const char *state_dir, unsigned keep_days, GError **error);
/* Opens it for reading only, while another process may write. NULL with an error. */
struct journal *journal_open_to_read(const char *state_dir, GError **error);
/* Accepts NULL. */
void journal_close(struct journal *journal);
typedef struct journal journal_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(journal_t, journal_close)

/* The bytes of its files, with those that are not written into the database yet. Waits for nothing.
 */
uint64_t journal_size(const struct journal *journal);

/* Each function below that changes the journal returns 0, or -1 with JOURNAL_ERROR_FAILED. */

struct journal_cast {
	const char *unique_id; /* NULL: the cast has none */
	const char *method;
	const char *instance;
	const char *image;   /* NULL: none */
	const char *message; /* JSON, without secrets */
	int64_t job;	     /* set by journal_casts_add: its number; 0: the unique_id is known */
};

/* Adds a new job for each cast: either all of them, or none. */
int journal_casts_add(struct journal *journal, struct journal_cast *casts, size_t count,
		      GError **error);

/* Makes sure that as many bytes can be written: writes them, and deletes them again. */
int journal_reserve(struct journal *journal, size_t bytes, GError **error);
/* Deletes jobs that ended more than `keep_days` days ago, except those with an open step. */
int journal_prune(struct journal *journal, unsigned keep_days, GError **error);

/* Records that a run of the job begins. */
int journal_job_run(struct journal *journal, int64_t job, GError **error);
/* Records that the job has failed. It stays open until its end is reported. */
int journal_job_fail(struct journal *journal, int64_t job, const char *reason, GError **error);
/* Records that the job has ended, successfully if `reason` is NULL, and clears its facts. */
int journal_job_end(struct journal *journal, int64_t job, const char *reason, GError **error);

/* Records that a step is about to be made. `undo`: JSON that rolls it back; "": the step is a fact,
 * which recovery reads while the job is open. */
int journal_step_add(struct journal *journal, int64_t job, const char *step, const char *undo,
		     GError **error);
/* Records that the newest step of that name was rolled back, or that nothing is left of it. */
int journal_step_clear(struct journal *journal, int64_t job, const char *step, GError **error);
/* The same for the step with that number. */
int journal_step_clear_id(struct journal *journal, int64_t step, GError **error);
/* Replaces the undo data of the step with that number. */
int journal_step_amend(struct journal *journal, int64_t step, const char *undo, GError **error);

struct journal_step {
	int64_t id;
	char *name;
	char *undo;
	int64_t at; /* seconds since 1970 */
	bool cleared;
};

/* Whether the step has an undo and was not rolled back. */
bool journal_step_is_open(const struct journal_step *step);

struct journal_job {
	int64_t id;
	char *unique_id; /* NULL: none */
	char *method;
	char *instance;
	char *image; /* NULL: none */
	char *message;
	unsigned runs;	  /* how often it was begun; 0: never */
	int64_t came_at;  /* seconds since 1970 */
	int64_t ended_at; /* 0: not ended */
	char *reason;	  /* of its failure; NULL: it has not failed */
	GPtrArray *steps; /* struct journal_step, oldest first */
};

/* Number of open steps. */
unsigned journal_job_count_open_steps(const struct journal_job *job);

enum journal_which {
	JOURNAL_ALL,	    /* newest first */
	JOURNAL_OPEN,	    /* not ended; oldest first */
	JOURNAL_LEFTOVERS,  /* ended, with a step that was not cleared; oldest first */
	JOURNAL_UNFINISHED, /* open jobs and leftovers: novasnapd is still needed; oldest first */
};
/* An array of struct journal_job, at most `limit` (0: no limit), which the caller unrefs. NULL with
 * an error. */
GPtrArray *journal_list(struct journal *journal, enum journal_which which, unsigned limit,
			GError **error);
/* Whether the text is written as the number of a job. */
bool journal_is_job_number(const char *text);
/* The job of that number, or the newest job of an image or instance. NULL with an error, or without
 * one if there is no such job. */
struct journal_job *journal_find(struct journal *journal, const char *id, GError **error);
void journal_job_free(struct journal_job *job);
typedef struct journal_job journal_job_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(journal_job_t, journal_job_free)

#endif
