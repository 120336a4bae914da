/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Jobs that are running on a guest before a live snapshot begins.
 */
#ifndef NOVASNAP_VIRT_METHOD_LEFT_JOBS_H
#define NOVASNAP_VIRT_METHOD_LEFT_JOBS_H

#include "virt/method/method.h"

/* Ends a block job on the disk, or a backup job of the guest, that an earlier novasnap process left
 * running. Jobs of other programs are not ended. Returns 0, or -1 with VIRT_ERROR_BUSY, which names
 * the other program's job. */
int left_jobs_end(struct snapshot *snapshot, GError **error);

#endif
