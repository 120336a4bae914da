/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random ids, times, and threads.
 */
#include "rpc/base.h"

#include "rpc/rpc.h"

/* librabbitmq decodes headers by recursion, and a frame has room for 26000 levels of them, which
 * take about 4 MiB. The kernel gives a thread only what it touches. */
#define THREAD_STACK_BYTES ((size_t)8 * 1024 * 1024)

char *rpc_hex_id(void)
{
	char *text = g_uuid_string_random();
	char *to = text;

	for (const char *from = text; *from; from++) {
		if (*from != '-')
			*to++ = *from;
	}
	*to = '\0';
	return text;
}

struct timespec rpc_timespec(gint64 monotonic_us)
{
	return (struct timespec){monotonic_us / G_USEC_PER_SEC,
				 (monotonic_us % G_USEC_PER_SEC) * 1000};
}

int rpc_thread_start(pthread_t *ret_thread, void *(*run)(void *), void *opaque, const char *purpose,
		     GError **error)
{
	pthread_attr_t attributes;
	int rc;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
	rc = pthread_create(ret_thread, &attributes, run, opaque);
	pthread_attr_destroy(&attributes);
	if (rc == 0)
		return 0;
	g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED, "cannot start the %s thread: %s", purpose,
		    g_strerror(rc));
	return -1;
}
