/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a life before this one left: its jobs are brought to an end, and what could not be taken
 * back is tried again, when libvirt comes back or later.
 */
#ifndef NOVASNAP_AGENT_RECOVERY_H
#define NOVASNAP_AGENT_RECOVERY_H

#include "agent/task/task.h"

/* Facts in the journal: data went into the image; what it will be once the last of it is there;
 * what kind of failure it was; that the image stays all the same; that nova has its fault. */
#define RECOVERY_SENT "upload"
#define RECOVERY_CHECKSUM "checksum"
#define RECOVERY_FAILURE "failure"
#define RECOVERY_KEEP "keep"
#define RECOVERY_TOLD_FAULT "told-fault"
/* The checksum in full. The caller frees it. */
char *recovery_checksum_text(const struct image_checksum *checksum);

struct recovery;

/* Makes a job of each that the journal has open, and starts the thread that looks for leftovers.
 * NULL with an error. */
struct recovery *recovery_start(struct manager *manager, GError **error);
/* Ends the thread; what it made jobs of may go on. Each takes NULL. */
void recovery_stop(struct recovery *recovery);
/* After the last job has ended. */
void recovery_free(struct recovery *recovery);

/* In the thread of a task with something left: takes back what was done, and says whether it is to
 * run again (1). 0: there is nothing more to do but to tell of its end; -1: it ends as a failure,
 * or all is about to end, and it is left to the next life.
 */
int recovery_begin(struct task *task, GError **error);

/* --- recovery-undo.c -------------------------------------------------------------------------- */

/* Takes back all that is open, tried so many times, two seconds apart, or until all is about to
 * end; the first error where something could not be. What is taken back is cleared, here and in the
 * journal. */
int recovery_undo(struct manager *manager, struct job *job, const struct journal_job *left,
		  unsigned tries, GError **error);
/* Before it, where the host was started anew since: what would bring back a guest that is elsewhere
 * by now, or deleted, is over. -1: nobody says where it is. */
int recovery_leave_to_others(struct task *task, GError **error);
/* The same for a job that has ended, of which nobody is asked any more. */
void recovery_leave_after_boot(struct manager *manager, const struct journal_job *left);

/* --- recovery-facts.c ------------------------------------------------------------------------- */

/* The newest fact of that word which a life before this one noted, NULL: none. */
const char *recovery_fact(const struct journal_job *left, const char *word);
bool recovery_knows(const struct journal_job *left, const char *word);
/* Whether an active image is what a life before this one sent. */
bool recovery_is_whole(const struct journal_job *left, const struct image_record *record);
/* What the job fails with, before anybody is told: a life after this one goes on with it. */
void recovery_note_failure(struct task *task, const GError *error);
/* The same failure. Returns -1. */
int recovery_fail_again(const struct journal_job *left, GError **error);

/* --- recovery-judge.c -------------------------------------------------------------------------
 */

/* Asks the conductor, for as long as it does not answer, what the instance has come to. 1: it waits
 * for us; 0: it does not any more; -1: it is not ours (task->away), is gone, or there was no answer
 * before all was about to end, or, unless it is asked `firmly`, the job was cancelled. */
int recovery_judge_instance(struct task *task, bool firmly, GError **error);
/* Whether that error is an answer. */
bool recovery_is_answer(const GError *error);
/* What recovery_begin documents, once all was taken back that can be; `undone` is why not all was,
 * NULL where all was. */
int recovery_decide(struct task *task, const GError *undone, GError **error);

#endif
