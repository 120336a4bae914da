/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The scratch guard of a live stream. The data that the guest overwrites while its disk is read
 * goes to a scratch file. If that file's filesystem is full, QEMU pauses the guest with an I/O
 * error, and the guest stays paused. The guard is a thread that monitors the free space, and ends
 * the backup job before it is used up. It also watches the guest, since the room may be short only
 * where QEMU sees it (a quota, a thin pool): if an I/O error pauses the guest, it ends the job and
 * resumes the guest.
 */
#ifndef NOVASNAP_VIRT_METHOD_SCRATCH_GUARD_H
#define NOVASNAP_VIRT_METHOD_SCRATCH_GUARD_H

#include "virt/method/method.h"

struct scratch_guard;

/* The backup job to guard. */
struct guarded_job {
	const char *socket;  /* that it serves */
	const char *scratch; /* its scratch file */
	bool may_resume;     /* an I/O error had not paused the guest before the job */
};

/* Starts the thread. The snapshot and the strings must stay valid until scratch_guard_stop. NULL
 * with VIRT_ERROR_FAILED. */
struct scratch_guard *scratch_guard_start(struct snapshot *snapshot, const struct guarded_job *job,
					  GError **error);
/* Stops the thread, waits for it and frees the guard. Accepts NULL. */
void scratch_guard_stop(struct scratch_guard *guard);

/* Returns 0 (also for NULL), or -1 with VIRT_ERROR_PROCESS if the guard ends the job, and why. From
 * any thread. */
int scratch_guard_check(struct scratch_guard *guard, GError **error);

#endif
