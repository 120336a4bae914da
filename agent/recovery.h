/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a life before this one left: its jobs are brought to an end, and what could not be taken
 * back is tried again, when libvirt comes back or later.
 */
#ifndef NOVASNAP_AGENT_RECOVERY_H
#define NOVASNAP_AGENT_RECOVERY_H

#include "agent/task.h"

/* Facts in the journal: data went into the image; what it will be once the last of it is there. */
#define RECOVERY_SENT "upload"
#define RECOVERY_SEAL "seal"
/* The latter in full. The caller frees it. */
char *recovery_seal_text(const struct image_seal *seal);

struct recovery;

/* Makes a job of each that the journal has open, and starts the thread that looks for leftovers.
 * NULL with an error. */
struct recovery *recovery_start(struct manager *manager, GError **error);
/* Ends the thread; what it made jobs of may go on. Each takes NULL. */
void recovery_stop(struct recovery *recovery);
/* After the last job has ended. */
void recovery_free(struct recovery *recovery);

/* In the thread of a task with something left: takes back what was done, and says whether it is to
 * run again (1). 0: there is nothing more to do but to tell of its end; -1: it ends as a failure.
 */
int recovery_begin(struct task *task, GError **error);

/* --- recovery-judge.c -------------------------------------------------------------------------
 */

/* Whether a life before this one noted that fact. */
bool recovery_knows(const struct journal_job *left, const char *fact);
/* Once what was left is taken back: what recovery_begin documents. */
int recovery_decide(struct task *task, GError **error);

#endif
