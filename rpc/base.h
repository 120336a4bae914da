/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Small functions shared by several files of this room.
 */
#ifndef NOVASNAP_RPC_BASE_H
#define NOVASNAP_RPC_BASE_H

#include <glib.h>
#include <pthread.h>
#include <time.h>

/* Returns a random uuid as 32 hexadecimal digits without dashes, like Python's uuid4().hex. The
 * caller frees it. */
char *rpc_hex_id(void);

/* Converts a monotonic time in us for pthread_cond_clockwait. */
struct timespec rpc_timespec(gint64 monotonic_us);

/* Starts a thread. `purpose` describes it in the error: "publishing". The caller joins the thread.
 * Returns 0, or -1 with RPC_ERROR_FAILED. */
int rpc_thread_start(pthread_t *ret_thread, void *(*run)(void *), void *opaque, const char *purpose,
		     GError **error);

#endif
