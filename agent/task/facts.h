/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Facts in the journal: what a later process must know of a task and cannot see from outside. A
 * fact is a step without an undo; its name is a word, sometimes followed by values.
 */
#ifndef NOVASNAP_AGENT_FACTS_H
#define NOVASNAP_AGENT_FACTS_H

#include "agent/task/task.h"

/* The words. They are in the journals of installed versions: do not change them. */
#define FACT_DATA_SENT "upload"		  /* data may be in the image */
#define FACT_CHECKSUM "checksum"	  /* algorithm, hash and size of the complete image */
#define FACT_FAILURE "failure"		  /* domain and code of the error that ended the task */
#define FACT_KEEP_IMAGE "keep"		  /* a failure does not delete the image */
#define FACT_FAULT_REPORTED "told-fault"  /* nova has the fault */
#define FACT_GUEST_CHANGED "change-guest" /* libvirt was asked to pause, save... the guest */

/* Whether an earlier process noted a fact of that word. */
bool fact_is_known(const struct journal_job *job, const char *word);

/* FACT_CHECKSUM with its values. The caller frees it. */
char *fact_checksum_text(const struct image_checksum *checksum);
/* Whether an active image is what an earlier process sent, by FACT_CHECKSUM. False where that fact
 * is missing. */
bool fact_image_matches(const struct journal_job *job, const struct image_record *record);

/* From now on a failure does not delete the image, in this process and in later ones. Returns 0, or
 * -1 with an error where the image is not complete. */
int fact_keep_image(struct task *task, GError **error);

/* Notes what the task fails with, before anybody is told: a later process goes on with the same
 * error. What cannot be written is logged. */
void fact_note_failure(struct task *task, const GError *error);
/* Sets the error that an earlier process noted. Returns -1. */
int fact_restore_failure(const struct journal_job *job, GError **error);

#endif
