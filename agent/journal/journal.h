/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal: each cast before it is acked, and each step of its job before its effect, with what
 * undoes it; SQLite, on the disk before a call returns. What is open when novasnapd starts is what
 * a life before it left (recovery.h). Any thread.
 */
#ifndef NOVASNAP_AGENT_JOURNAL_H
#define NOVASNAP_AGENT_JOURNAL_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define JOURNAL_ERROR journal_error_quark()
GQuark journal_error_quark(void);

enum journal_error {
	JOURNAL_ERROR_FAILED, /* it cannot be read or written; SQLite's words are in the message */
	JOURNAL_ERROR_BUSY,   /* another novasnapd has it */
};

struct journal;

/* Opens, or makes, journal/journal.db in `state_dir`, and holds it against any other process that
 * writes. What ended more than `keep_days` ago is forgotten. */
struct journal *journal_open(const char *state_dir, unsigned keep_days, GError **error);
/* To look at it alone, beside whoever holds it. */
struct journal *journal_open_to_read(const char *state_dir, GError **error);
void journal_close(struct journal *journal);
typedef struct journal journal_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(journal_t, journal_close)

/* What is kept of a cast. */
struct journal_cast {
	const char *unique_id; /* NULL: it has none */
	const char *method;
	const char *instance;
	const char *image;   /* NULL: none */
	const char *message; /* JSON, without any secret */
};

/* 1, with its number; 0: it was there before; -1 with an error. */
int journal_add(struct journal *journal, const struct journal_cast *cast, int64_t *ret_job,
		GError **error);
/* One more run of a job begins. */
int journal_run(struct journal *journal, int64_t job, GError **error);
/* A step is about to be made. `undo`: what recovery needs to take it back; "": nothing, it is a
 * fact that recovery is to know until the job has ended. */
int journal_step(struct journal *journal, int64_t job, const char *step, const char *undo,
		 GError **error);
/* The newest step of that name is taken back, or nothing is left of it. */
int journal_clear(struct journal *journal, int64_t job, const char *step, GError **error);
/* The step of that number is. */
int journal_clear_step(struct journal *journal, int64_t step, GError **error);
/* What takes the step of that number back is another from now on. */
int journal_amend_step(struct journal *journal, int64_t step, const char *undo, GError **error);
/* The job has failed; it is open until somebody was told. */
int journal_fail_job(struct journal *journal, int64_t job, const char *reason, GError **error);
/* The job has ended; `reason` NULL: well. */
int journal_end(struct journal *journal, int64_t job, const char *reason, GError **error);

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
	unsigned runs;
	int64_t came_at;  /* seconds since 1970 */
	int64_t ended_at; /* 0: it has not */
	char *reason;	  /* of a failure; NULL: none */
	GPtrArray *steps; /* struct journal_step, the oldest first */
};

enum journal_which {
	JOURNAL_ALL,	   /* the newest first */
	JOURNAL_OPEN,	   /* not ended; the oldest first */
	JOURNAL_LEFTOVERS, /* ended, with a step that was not cleared; the oldest first */
};
/* struct journal_job; the caller unrefs it. `limit` 0: all. */
GPtrArray *journal_list(struct journal *journal, enum journal_which which, unsigned limit,
			GError **error);
/* One, by its number, or the newest of an image or instance. NULL with an error, or without one
 * where there is none. */
struct journal_job *journal_find(struct journal *journal, const char *id, GError **error);
void journal_job_free(struct journal_job *job);
typedef struct journal_job journal_job_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(journal_job_t, journal_job_free)

#endif
