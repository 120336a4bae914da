/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Small functions that several files of this room need.
 */
#ifndef NOVASNAP_RPC_BASE_H
#define NOVASNAP_RPC_BASE_H

#include <glib.h>
#include <pthread.h>
#include <time.h>

/* Returns a random uuid as 32 hexadecimal digits without dashes, as Python's uuid4().hex. The
 * caller frees it. */
char *rpc_hex_id(void);

/* Converts a time of the monotonic clock, in us, for pthread_cond_clockwait. */
struct timespec rpc_timespec(gint64 monotonic_us);

/* Starts a thread with a small stack. `purpose` names it in the error: "publishing". The caller
 * joins the thread. Returns 0, or -1 with RPC_ERROR_FAILED. */
int rpc_thread_start(pthread_t *ret_thread, void *(*run)(void *), void *opaque, const char *purpose,
		     GError **error);

#endif
