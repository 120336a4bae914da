/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Facts in the journal: what a later process must know about a task and cannot find out otherwise.
 * A fact is a step without undo data; its name is a word, in some cases followed by values.
 */
#ifndef NOVASNAP_AGENT_FACTS_H
#define NOVASNAP_AGENT_FACTS_H

#include "agent/task/task.h"

/* The words. They are in the journals of installed versions: do not change them. */
#define FACT_DATA_SENT "upload"		  /* data may be in the image */
#define FACT_CHECKSUM "checksum"	  /* algorithm, hash and size of the complete image */
#define FACT_LOCATION "checksum location" /* its location and size instead (location-step.h) */
#define FACT_FAILURE "failure"		  /* domain and code of the error that ended the task */
#define FACT_IMAGE_STORED "stored"	  /* the store has confirmed that it has the image */
#define FACT_KEEP_IMAGE "keep"		  /* the image is verified */
#define FACT_STATE_CLEARED "clear-state"  /* nova's task state was cleared: never clear it again */
#define FACT_FAULT_SENT "send-fault"	  /* when the fault was first sent to the conductor */
#define FACT_FAULT_REPORTED "told-fault"  /* the fault was written to nova's database */
#define FACT_GUEST_CHANGED "change-guest" /* libvirt was asked to pause, save... the guest */
#define FACT_ACCEPTED "accepted"	  /* nova's event is a success, whatever the end is */
#define FACT_EVENT_FINISHED "told-event"  /* that event is finished */
#define FACT_IMAGE_ASKED                                                                           \
	"ask-image"		 /* the store was asked until it knows what became of the image */
#define FACT_CLAIMING "claiming" /* the first save may have been sent */
#define FACT_CLAIMED "claimed"	 /* the conductor has accepted the first save */
#define FACT_PROGRESS "progress" /* a percentage may be in the instance's record */
#define FACT_STOPPED "stopped"	 /* a run of the job was ended by SIGTERM */

/* Whether an earlier process journaled a fact with that word. */
bool fact_is_known(const struct journal_job *job, const char *word);
/* How many facts with that word there are. */
unsigned fact_count(const struct journal_job *job, const char *word);
/* Whether all data of the last upload may have been sent: FACT_CHECKSUM is newer than
 * FACT_DATA_SENT. */
bool fact_all_data_was_sent(const struct journal_job *job);

/* When FACT_DATA_SENT was journaled last, in seconds since the epoch; 0: never. */
int64_t fact_data_sent_at(const struct journal_job *job);

/* FACT_CHECKSUM with its values. The caller frees it. */
char *fact_checksum_text(const struct image_checksum *checksum);
/* The newest FACT_CHECKSUM with its values, which the caller frees. NULL: none. */
char *fact_find_checksum(const struct journal_job *job);
/* The same of data that the image gets by its location: FACT_LOCATION with its values, in bytes.
 * The caller frees it. */
char *fact_location_text(const char *url, uint64_t size);
/* Whether the task's data (task->checksum) is at a location. */
bool fact_location_is_sent(const struct task *task);
/* Compares an active image with the checksum or location of the task's data (task->checksum).
 * Returns 0, or -1 with IMAGE_ERROR_MISMATCH, also if the task has no checksum. */
int fact_verify_image(const struct task *task, const struct image_record *record, GError **error);

/* Journals a fact without values. A failure to write is logged. */
void fact_note(struct task *task, const char *word);

/* Journals FACT_IMAGE_ASKED, once for each upload, before the first wait for the store's verdict. A
 * failure to write is logged. */
void fact_note_image_asked(struct task *task);
/* When earlier processes began to wait for the verdict on the last upload, in seconds since the
 * epoch; 0: never. */
int64_t fact_image_asked(const struct journal_job *job);
/* When a wait for this verdict that may take `limit_us` ends, monotonic us. The time since
 * FACT_IMAGE_ASKED counts, so that the limit holds for all processes together; each process may
 * wait for FACT_ASK_MIN_S. */
gint64 fact_image_asked_until(const struct task *task, gint64 limit_us);
#define FACT_ASK_MIN_S 30

/* Journals FACT_FAULT_SENT with task->fault_sent_at, before the fault is sent. A failure to write
 * is logged: a fault is better written twice than never. */
void fact_note_fault_sent(struct task *task);
/* The time that an earlier process journaled, in seconds since the epoch; 0: none. */
int64_t fact_fault_sent(const struct journal_job *job);

/* The store has confirmed that it has the image. Returns 0, or -1 with an error. */
int fact_note_image_stored(struct task *task, GError **error);
/* The image is verified: from now on, in this process and in later ones, it cannot be cancelled.
 * Returns 0, or -1 with an error if the image is not verified. */
int fact_keep_image(struct task *task, GError **error);

/* Journals the task's error before anything is reported, so that a later process reports the same
 * error. A failure to write is logged. */
void fact_note_failure(struct task *task, const GError *error);
/* Sets the error that an earlier process journaled. Returns -1. */
int fact_restore_failure(const struct journal_job *job, GError **error);

#endif
