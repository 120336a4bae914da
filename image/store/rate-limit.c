/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A limit that all uploads of a store share: each block is given its time, in the order of asking.
 */
#include <pthread.h>

#include "image/internal.h"

struct pace {
	pthread_mutex_t lock;
	double bytes_per_us;
	double next; /* when the next block may go; guarded by the lock */
};

struct pace *pace_new(unsigned bytes_per_second)
{
	struct pace *pace;

	if (bytes_per_second == 0)
		return NULL;
	pace = g_new0(struct pace, 1);
	pthread_mutex_init(&pace->lock, NULL);
	pace->bytes_per_us = (double)bytes_per_second / G_USEC_PER_SEC;
	return pace;
}

void pace_free(struct pace *pace)
{
	if (!pace)
		return;
	pthread_mutex_destroy(&pace->lock);
	g_free(pace);
}

gint64 pace_book(struct pace *pace, size_t bytes)
{
	double now = (double)g_get_monotonic_time();
	double at;

	if (!pace)
		return 0;
	pthread_mutex_lock(&pace->lock);
	at = pace->next > now ? pace->next : now;
	pace->next = at + (double)bytes / pace->bytes_per_us;
	pthread_mutex_unlock(&pace->lock);
	return (gint64)at;
}
