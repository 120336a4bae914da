/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frozen filesystems, which must never stay frozen: before a guest is frozen, a watchdog process is
 * started that thaws it (thaw-process.h). A table holds all guests that this process has frozen.
 * virt.h declares what quiesce_instance and unquiesce_instance use.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_FREEZE_H
#define NOVASNAP_VIRT_DOMAIN_FREEZE_H

#include "virt/domain/guest.h"

struct frozen_table;
struct frozen_table *frozen_table_new(void);
/* Thaws the guests of the host's table, and frees it. */
void frozen_table_free(struct virt_host *host);

/* Freezes the guest's filesystems for at most `limit_s` seconds. `id` names this freeze, and tells
 * it from others of the same guest. Returns 0, or -1 with an error of guest_connect or
 * VIRT_ERROR_FREEZE, also where this process has frozen the guest already. What was frozen half-way
 * is thawed again, or left to the watchdog. */
int guest_freeze(struct guest *guest, const char *id, unsigned limit_s, GError **error);

/* Whether the watchdog ended the freeze of that id, since its time was over. Also true where this
 * process has no such freeze. */
bool guest_freeze_has_expired(const struct guest *guest, const char *id);

/* Thaws the guest's filesystems and dismisses the watchdog. A guest that this process has frozen
 * under another id is left frozen, since that freeze has an end of its own; a guest that it has not
 * frozen is thawed where it runs. Thawing a guest twice is harmless. Returns 0, or -1 with an error
 * of guest_connect or VIRT_ERROR_FREEZE: the watchdog goes on trying. `id` may be NULL: it is
 * unknown. */
int guest_thaw(struct guest *guest, const char *id, GError **error);

#endif
