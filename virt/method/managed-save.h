/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Common code of the cold methods: a running guest is saved while its disk is copied. Closing the
 * step "save" restores it.
 */
#ifndef NOVASNAP_VIRT_METHOD_MANAGED_SAVE_H
#define NOVASNAP_VIRT_METHOD_MANAGED_SAVE_H

#include "virt/method/method.h"

/* Saves the guest if it is running. A container cannot be saved: its disk is copied while it runs.
 * Returns 0, or -1 with VIRT_ERROR_UNSUPPORTED if the guest cannot be saved and restored, or an
 * error of virt_set_error. */
int managed_save_begin(struct snapshot *snapshot, GError **error);

/* Checks that nothing writes to the disk; waits for a guest that is shutting down. Returns 0, or -1
 * with VIRT_ERROR_BUSY if the guest is running, VIRT_ERROR_TIMEOUT, or an error of guest_state. */
int managed_save_check_stopped(struct snapshot *snapshot, GError **error);

#endif
