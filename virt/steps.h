/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The steps of a snapshot: its effects on guest and host. A step is begun before its effect, which
 * is journaled with what rollback.c needs to undo it, and stays open until it is closed, that is
 * rolled back: also after a success, when "save" is closed by restoring the guest.
 */
#ifndef NOVASNAP_VIRT_STEPS_H
#define NOVASNAP_VIRT_STEPS_H

#include "virt/method/method.h"

struct cJSON;

/* To be called before an effect. Takes `undo`, a JSON object as the step's function in rollback.c
 * describes it; NULL: the effect needs no rollback, and the step is never open. Returns 0, or -1
 * with an error: then the effect must not be made. */
int step_begin(struct snapshot *snapshot, const char *step, struct cJSON *undo, GError **error);
/* To be called once the effect is made. Returns 0, or -1 with an error: the snapshot fails. */
int step_end(struct snapshot *snapshot, const char *step, GError **error);

/* For the undo of a step whose rollback starts or defines the guest: notes the host's boot. After
 * another boot the guest may be on another host. */
void step_note_boot(struct cJSON *undo);

bool step_is_open(const struct snapshot *snapshot, const char *step);

/* Closes a step without a rollback: nothing is left of its effect. */
void step_clear(struct snapshot *snapshot, const char *step);

/* Closes a step by its rollback, which is tried a few times. Returns 0, also where it is not open,
 * or -1 with an error: then it is left to recovery, and not tried again here. */
int step_close(struct snapshot *snapshot, const char *step, GError **error);

/* Closes all open steps except `except` (may be NULL), the last one first. Returns 0, or -1 with
 * the first error; further ones are logged. */
int steps_close_all(struct snapshot *snapshot, const char *except, GError **error);

/* Frees the list of open steps. */
void steps_free(struct snapshot *snapshot);

#endif
