/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Freezing and thawing filesystems. They must never stay frozen: before a guest is frozen, a
 * watchdog process is started that will thaw it (thaw-process.h). A table lists the guests that
 * this process has frozen (frozen-table.h). virt.h declares the functions behind quiesce_instance
 * and unquiesce_instance.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_FREEZE_H
#define NOVASNAP_VIRT_DOMAIN_FREEZE_H

#include "virt/domain/guest.h"

/* Thaws the guests in the host's table of frozen guests, and frees the table. */
void frozen_guests_free(struct virt_host *host);

/* Freezes the guest's filesystems for at most `limit_s` seconds. `id` identifies this freeze among
 * those of the same guest. Returns 0, or -1 with an error of guest_connect or VIRT_ERROR_FREEZE,
 * also if the guest is already frozen, or an earlier freeze of it is not ended yet. After a
 * failure, filesystems that were frozen are thawed again, by this call or by the watchdog. */
int guest_freeze(struct guest *guest, const char *id, unsigned limit_s, GError **error);

/* Whether the watchdog ended the freeze of that id because its time limit was over. Also true if
 * this process has no such freeze. */
bool guest_freeze_has_expired(const struct guest *guest, const char *id);

/* Thaws the guest's filesystems and dismisses the watchdog. `id` may be NULL if it is unknown. A
 * guest that this process has frozen under another id stays frozen: that freeze is ended by its
 * owner. A guest that this process has not frozen is thawed, too; if it is paused or saved, that
 * is left to a new watchdog. Thawing a guest twice is harmless. Returns 0, or -1 with an error of
 * guest_connect or VIRT_ERROR_FREEZE; then the watchdog, if there is one, keeps trying. */
int guest_thaw(struct guest *guest, const char *id, GError **error);

/* Thaws a guest that another program, such as a libvirtd that was restarted, may have left frozen.
 * If that fails, a new watchdog keeps trying. A guest that this process has frozen stays frozen. */
void guest_thaw_left_frozen(struct guest *guest);

#endif
