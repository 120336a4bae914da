/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rolling back the steps of a snapshot. This is the only way in which the effects of a snapshot are
 * undone: after a success, after a failure, and by recovery after novasnapd died. virt.h declares
 * what recovery uses.
 *
 * Each rollback first looks at what is there, since the step may not have been made, libvirt may
 * still be at it, it may be rolled back already, and others may have acted since. So it can be
 * called at any time and any number of times.
 */
#ifndef NOVASNAP_VIRT_ROLLBACK_H
#define NOVASNAP_VIRT_ROLLBACK_H

#include "virt/domain/guest.h"

/* Rolls back a step; `undo` is the JSON text that was noted when it began. `guest` need not be
 * connected, and libvirt need not know it. Returns 0, or -1 with an error, after which the step is
 * as it was and may be rolled back again. */
int rollback_step(struct guest *guest, const char *step, const char *undo, GError **error);

/* What rolling back a step is called, as a step of its own ("save" is rolled back by "restore").
 * NULL for an unknown step. */
const char *rollback_name(const char *step);
/* Whether rolling back a step needs an answer of libvirt. */
bool rollback_asks_libvirt(const char *step);

#endif
