/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The steps of a snapshot: its effects on guest and host. A step is begun before its effect, and
 * journaled with the data that rollback.c needs to undo it. It stays open until it is closed, which
 * rolls it back; also after a success: closing "save" restores the guest.
 */
#ifndef NOVASNAP_VIRT_STEPS_H
#define NOVASNAP_VIRT_STEPS_H

#include "virt/method/method.h"

struct cJSON;

/* Call it before an effect. `undo` is a JSON object as documented at the step's function in
 * rollback.c, and ownership is taken; NULL: the effect needs no rollback, and the step is never
 * open. Returns 0, or -1 with an error: then the caller must not make the effect. */
int step_begin(struct snapshot *snapshot, const char *step, struct cJSON *undo, GError **error);
/* Call it after the effect. Returns 0, or -1 with an error: then the snapshot fails. */
int step_end(struct snapshot *snapshot, const char *step, GError **error);

/* Adds this process's id to the undo data of a step whose rollback starts or defines the guest. A
 * later process must find out first whether the guest is still on this host. */
void step_note_process(struct cJSON *undo);

bool step_is_open(const struct snapshot *snapshot, const char *step);

/* Closes a step without a rollback, because nothing is left of its effect. */
void step_clear(struct snapshot *snapshot, const char *step);

/* Closes a step by rolling it back, with a few tries. Returns 0, also if the step is not open, or
 * -1 with an error: then the step is left to recovery, and not tried again here. */
int step_close(struct snapshot *snapshot, const char *step, GError **error);

/* Closes all open steps except `except` (may be NULL), the newest first. Returns 0, or -1 with the
 * first error; further errors are logged. */
int steps_close_all(struct snapshot *snapshot, const char *except, GError **error);

/* Frees the list of open steps. */
void steps_free(struct snapshot *snapshot);

#endif
