/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads and waiting for them.
 */
#include "image/thread.h"

#include <glib.h>
#include <time.h>

#define STACK_SIZE ((size_t)512 * 1024)
#define WAIT_US ((gint64)250 * 1000)

int image_thread_start(pthread_t *ret_thread, void *(*run)(void *opaque), void *opaque)
{
	pthread_attr_t attributes;
	int rc;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	rc = pthread_create(ret_thread, &attributes, run, opaque);
	pthread_attr_destroy(&attributes);
	return rc;
}

void image_thread_wait(pthread_cond_t *changed, pthread_mutex_t *lock)
{
	gint64 until_us = g_get_monotonic_time() + WAIT_US;
	const struct timespec until = {.tv_sec = until_us / G_USEC_PER_SEC,
				       .tv_nsec = until_us % G_USEC_PER_SEC * 1000};

	(void)pthread_cond_clockwait(changed, lock, CLOCK_MONOTONIC, &until);
}
