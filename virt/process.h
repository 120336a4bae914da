/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Running a program to its end.
 */
#ifndef NOVASNAP_VIRT_PROCESS_H
#define NOVASNAP_VIRT_PROCESS_H

#include <glib.h>
#include <stdatomic.h>

/* Runs a program and waits for its end. It is killed after `timeout_s` seconds, or when `cancel`
 * (may be NULL) is set; it also dies with the calling thread. It has ended when this returns.
 * *ret_output (may be NULL) is what it wrote to standard output, at most 4 MiB; the caller frees
 * it. Returns 0, or -1 with VIRT_ERROR_PROCESS and what it wrote to standard error,
 * VIRT_ERROR_CANCELLED or VIRT_ERROR_TIMEOUT. */
int process_run(const char *const *argv, unsigned timeout_s, const atomic_int *cancel,
		char **ret_output, GError **error);

#endif
