/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The step of a direct snapshot: the copy of the guest's disk in Glance's storage, which becomes
 * the image's data by its location. The step is open from before the copy exists until the store
 * has confirmed that the image has it, or until it is removed. While the store may use the copy, it
 * must not be removed.
 */
#ifndef NOVASNAP_AGENT_LOCATION_STEP_H
#define NOVASNAP_AGENT_LOCATION_STEP_H

#include "agent/task/task.h"

/* Its name in the journal, and as a fault point. */
#define LOCATION_STEP "location"

/* Call it before the copy exists. `size`: in bytes. Returns 0, or -1 with an error. */
int location_step_begin(struct task *task, const char *url, uint64_t size, GError **error);
/* The copy is the image's, or is removed. A failure is logged. */
void location_step_clear(struct task *task);
/* The location in a journaled step, which the caller frees. NULL with an error: it cannot be
 * read. */
char *location_step_url(const struct journal_step *step, GError **error);

/* Journals which location is about to be given to the store: FACT_LOCATION, as the checksum of the
 * data. Call it after FACT_DATA_SENT is journaled. Returns 0, or -1 with an error: then it must not
 * be given. */
int location_note_sending(struct task *task, const char *url, uint64_t size, GError **error);
/* The store does not have it: clears both facts. A failure is logged. */
void location_forget_sending(struct task *task);

/* Whether an image that waits for data may still get the location: the store imports it, or its
 * answer is missing and twice [novasnap]request_timeout and saving_timeout are not over yet. */
bool location_may_come(const struct task *task, const struct image_record *record);
/* The same of a request that was sent at `sent_at` (seconds since the epoch), for an image that is
 * not being imported. */
bool location_may_arrive(const struct config *config, int64_t sent_at);

#endif
