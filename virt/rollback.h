/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rolls back the steps of a snapshot. This is the only way in which the effects of a snapshot are
 * undone: after a success, after a failure, and by recovery after novasnapd died. virt.h declares
 * the functions that recovery uses.
 *
 * Each rollback first checks the current state: the step may not have been made, libvirt may still
 * be working on it, it may already be rolled back, and other programs may have acted since. So it
 * can be called at any time and any number of times.
 */
#ifndef NOVASNAP_VIRT_ROLLBACK_H
#define NOVASNAP_VIRT_ROLLBACK_H

#include "virt/domain/guest.h"

/* Rolls back a step; `undo` is the JSON text that was recorded when the step began. `guest` need
 * not be connected, and may be unknown to libvirt. Returns 0, or -1 with an error; then the
 * rollback may be tried again. */
int rollback_step(struct guest *guest, const char *step, const char *undo, GError **error);

/* The name of a step's rollback, which is a step itself ("save" is rolled back by "restore"). NULL
 * for an unknown step. */
const char *rollback_name(const char *step);
/* Whether rolling back a step needs an answer from libvirt. */
bool rollback_asks_libvirt(const char *step);

#endif
