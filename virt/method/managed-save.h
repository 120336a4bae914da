/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the cold methods have in common: a guest that runs is saved for the time of the copy. It is
 * restored when its step "save" is closed.
 */
#ifndef NOVASNAP_VIRT_METHOD_MANAGED_SAVE_H
#define NOVASNAP_VIRT_METHOD_MANAGED_SAVE_H

#include "virt/method/method.h"

/* Saves the guest where it runs; but not a container, which cannot be saved: its disk is copied
 * while it runs. Returns 0, or -1 with VIRT_ERROR_UNSUPPORTED where the guest cannot be saved and
 * restored, or an error of virt_set_error. */
int managed_save_begin(struct snapshot *snapshot, GError **error);

/* Checks that nobody writes to the disk; waits for a guest that is shutting down. Returns 0, or -1
 * with VIRT_ERROR_BUSY where the guest runs, VIRT_ERROR_TIMEOUT, or an error of guest_state. */
int managed_save_check_stopped(struct snapshot *snapshot, GError **error);

#endif
