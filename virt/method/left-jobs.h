/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Jobs that run on a guest before a live snapshot begins.
 */
#ifndef NOVASNAP_VIRT_METHOD_LEFT_JOBS_H
#define NOVASNAP_VIRT_METHOD_LEFT_JOBS_H

#include "virt/method/method.h"

/* Ends a block job on the disk, or a backup job of the guest, that an earlier novasnapd left
 * running. Returns 0, or -1 with VIRT_ERROR_BUSY, which names a job that another program started:
 * that one goes on. */
int left_jobs_end(struct snapshot *snapshot, GError **error);

#endif
