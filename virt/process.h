/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a program until it ends.
 */
#ifndef NOVASNAP_VIRT_PROCESS_H
#define NOVASNAP_VIRT_PROCESS_H

#include <glib.h>
#include <stdatomic.h>

/* Runs a program and waits until it ends. It is killed after `timeout_s` seconds, when `cancel`
 * (may be NULL) is set, and when the calling thread ends. The process no longer exists when this
 * returns. *ret_output (may be NULL) is its standard output, at most 4 MiB; the caller frees it.
 * Returns 0, or -1 with VIRT_ERROR_PROCESS and the program's standard error, VIRT_ERROR_CANCELLED
 * or VIRT_ERROR_TIMEOUT. */
int process_run(const char *const *argv, unsigned timeout_s, const atomic_int *cancel,
		char **ret_output, GError **error);

#endif
