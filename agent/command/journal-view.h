/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal of this host's novasnapd, which need not be running, for novasnap jobs, show and
 * replay.
 */
#ifndef NOVASNAP_AGENT_COMMAND_JOURNAL_VIEW_H
#define NOVASNAP_AGENT_COMMAND_JOURNAL_VIEW_H

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "agent/command/command.h"
#include "agent/journal/journal.h"

struct journal_view {
	struct journal *journal;
	char *state_dir;
	bool asked;    /* queried once, and only if a job is open: an answer may take time */
	cJSON *status; /* NULL: novasnapd is not running, or does not answer this user */
};

/* Opens the journal in that state_dir. Returns 0, or -1 with a JOURNAL_ERROR that says why. */
int journal_view_open(struct journal_view *view, const char *state_dir, GError **error);
/* The same with the configured one. Returns EXIT_SUCCESS, or another exit status after printing the
 * error. */
int journal_view_open_configured(struct journal_view *view, const struct command_context *context,
				 const char *command);
void journal_view_close(struct journal_view *view);

/* journal_find in the journal in that state_dir. */
struct journal_job *journal_view_find(const char *state_dir, const char *id, GError **error);

/* "open", "done" or "failed". */
const char *journal_view_state(const struct journal_job *job);
/* Whether the job has ended, but novasnapd still has to roll back or report a step of it. */
bool journal_view_is_leftover(const struct journal_job *job);
/* A time in the local time zone. The caller frees it. */
char *journal_view_time(int64_t seconds);
/* What an open job is doing; the caller frees it. NULL for a job that has ended. */
char *journal_view_describe(struct journal_view *view, const struct journal_job *job);
/* The job as conf/docs/commands.md says, without its steps. The caller deletes it. */
cJSON *journal_view_json(struct journal_view *view, const struct journal_job *job);
/* The job's message without secrets. The caller deletes it; NULL with a JOURNAL_ERROR. */
cJSON *journal_view_message(const struct journal_job *job, GError **error);

#endif
