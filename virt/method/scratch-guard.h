/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The scratch guard of a live stream. The data that the guest overwrites while its disk is read
 * goes to a scratch file. If that file's filesystem is full, QEMU pauses the guest with an I/O
 * error, and the guest stays paused. The guard is a thread that monitors the free space, and ends
 * the backup job before it is used up.
 */
#ifndef NOVASNAP_VIRT_METHOD_SCRATCH_GUARD_H
#define NOVASNAP_VIRT_METHOD_SCRATCH_GUARD_H

#include "virt/method/method.h"

struct scratch_guard;

/* Checks that there is enough free space to start a stream of a disk of `size` bytes. Returns 0,
 * or -1 with VIRT_ERROR_PROCESS if there is not, or VIRT_ERROR_FAILED if scratch_dir cannot be
 * read. */
int scratch_guard_check_room(const struct virt_config *config, uint64_t size, GError **error);

/* Starts the thread for the backup job that serves this socket. Both arguments must stay valid
 * until scratch_guard_stop. NULL with VIRT_ERROR_FAILED. */
struct scratch_guard *scratch_guard_start(struct snapshot *snapshot, const char *socket,
					  GError **error);
/* Stops the thread, waits for it and frees the guard. Accepts NULL. */
void scratch_guard_stop(struct scratch_guard *guard);

/* Whether the guard ends the job because there was too little space left. From any thread; false
 * for NULL. */
bool scratch_guard_tripped(struct scratch_guard *guard);

#endif
