/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal: each cast before it is acked, and each step of its job before its effect, with what
 * rolls the step back. A SQLite database; a change is on the disk when its call returns. What is
 * open when novasnapd starts was left by an earlier process (agent/recovery). Any thread.
 */
#ifndef NOVASNAP_AGENT_JOURNAL_H
#define NOVASNAP_AGENT_JOURNAL_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define JOURNAL_ERROR journal_error_quark()
GQuark journal_error_quark(void);

enum journal_error {
	JOURNAL_ERROR_FAILED, /* it cannot be read or written; SQLite's message is in the text */
	JOURNAL_ERROR_BUSY,   /* another novasnapd uses it */
};

struct journal;

/* Opens, or makes, journal/journal.db in `state_dir`, and locks it against other processes that
 * write. Deletes jobs that ended more than `keep_days` days ago. NULL with an error. */
struct journal *journal_open(const char *state_dir, unsigned keep_days, GError **error);
/* Opens it only to read, beside the process that writes. NULL with an error. */
struct journal *journal_open_to_read(const char *state_dir, GError **error);
/* Takes NULL. */
void journal_close(struct journal *journal);
typedef struct journal journal_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(journal_t, journal_close)

/* Each of the changes below returns 0, or -1 with JOURNAL_ERROR_FAILED. */

struct journal_cast {
	const char *unique_id; /* NULL: the cast has none */
	const char *method;
	const char *instance;
	const char *image;   /* NULL: none */
	const char *message; /* JSON, without any secret */
	int64_t job;	     /* set by journal_casts_add: the job's number; 0: the journal had the
				unique_id before */
};

/* Adds a job that has not run yet for each cast: all of them, or none. */
int journal_casts_add(struct journal *journal, struct journal_cast *casts, size_t count,
		      GError **error);

/* A run of the job begins. */
int journal_job_run(struct journal *journal, int64_t job, GError **error);
/* The job has failed. It stays open until its end is reported. */
int journal_job_fail(struct journal *journal, int64_t job, const char *reason, GError **error);
/* The job has ended. `reason` NULL: with success. Its facts are cleared. */
int journal_job_end(struct journal *journal, int64_t job, const char *reason, GError **error);

/* A step is about to be made. `undo`: JSON that rolls it back; "": it is a fact, which recovery
 * reads while the job is open. */
int journal_step_add(struct journal *journal, int64_t job, const char *step, const char *undo,
		     GError **error);
/* The newest step of that name was rolled back, or nothing is left of it. */
int journal_step_clear(struct journal *journal, int64_t job, const char *step, GError **error);
/* The same for the step of that number. */
int journal_step_clear_id(struct journal *journal, int64_t step, GError **error);
/* From now on `undo` rolls the step of that number back. */
int journal_step_amend(struct journal *journal, int64_t step, const char *undo, GError **error);

struct journal_step {
	int64_t id;
	char *name;
	char *undo;
	int64_t at; /* seconds since 1970 */
	bool cleared;
};

struct journal_job {
	int64_t id;
	char *unique_id; /* NULL: none */
	char *method;
	char *instance;
	char *image; /* NULL: none */
	char *message;
	unsigned runs;	  /* how often it was begun; 0: it only waited */
	int64_t came_at;  /* seconds since 1970 */
	int64_t ended_at; /* 0: it has not ended */
	char *reason;	  /* of its failure; NULL: it has not failed */
	GPtrArray *steps; /* struct journal_step, the oldest first */
};

enum journal_which {
	JOURNAL_ALL,	   /* the newest first */
	JOURNAL_OPEN,	   /* not ended; the oldest first */
	JOURNAL_LEFTOVERS, /* ended, with a step that was not cleared; the oldest first */
};
/* An array of struct journal_job, at most `limit`; 0: all. The caller unrefs it. NULL with an
 * error. */
GPtrArray *journal_list(struct journal *journal, enum journal_which which, unsigned limit,
			GError **error);
/* The job of that number, or the newest of an image or instance. NULL with an error, or without one
 * where there is none. */
struct journal_job *journal_find(struct journal *journal, const char *id, GError **error);
void journal_job_free(struct journal_job *job);
typedef struct journal_job journal_job_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(journal_job_t, journal_job_free)

#endif
