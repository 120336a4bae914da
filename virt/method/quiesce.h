/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Freezing the guest's filesystems as a step of a live snapshot.
 */
#ifndef NOVASNAP_VIRT_METHOD_QUIESCE_H
#define NOVASNAP_VIRT_METHOD_QUIESCE_H

#include "virt/method/method.h"

/* Freezes the guest's filesystems if the image's properties allow it. Returns 0, also if they
 * cannot be frozen, or -1 with an error if the image requires it (os_require_quiesce). */
int quiesce_begin(struct snapshot *snapshot, GError **error);

/* Thaws the filesystems if quiesce_begin froze them. Call it at the snapshot's point in time.
 * Returns 0, or -1 with an error if the image requires frozen filesystems, and they had been thawed
 * before or could not be thawed. */
int quiesce_end(struct snapshot *snapshot, GError **error);

#endif
