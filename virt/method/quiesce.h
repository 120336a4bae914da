/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Freezing the guest's filesystems as a step of a live snapshot.
 */
#ifndef NOVASNAP_VIRT_METHOD_QUIESCE_H
#define NOVASNAP_VIRT_METHOD_QUIESCE_H

#include "virt/method/method.h"

/* Freezes the guest's filesystems where its image allows it. Returns 0, also where they cannot be
 * frozen, or -1 with an error where the image requires it (os_require_quiesce). */
int quiesce_begin(struct snapshot *snapshot, GError **error);

/* Thaws them, where quiesce_begin froze them; to be called at the snapshot's instant. Returns 0, or
 * -1 with an error where the image requires that they were frozen at that instant, and they were
 * not, or thawing failed. */
int quiesce_end(struct snapshot *snapshot, GError **error);

#endif
