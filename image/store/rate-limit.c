/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The limit on the bytes per second of all uploads.
 */
#include "image/store/rate-limit.h"

#include <pthread.h>

/* How much later than reserved bytes may be sent without a loss: a thread does not wake up on the
 * microsecond. */
#define CREDIT_US ((double)G_USEC_PER_SEC / 2)

struct rate_limit {
	pthread_mutex_t lock;
	double bytes_per_us;
	double next_us; /* when the next bytes may be sent; guarded by `lock` */
};

struct rate_limit *rate_limit_new(unsigned bytes_per_second)
{
	struct rate_limit *limit;

	if (bytes_per_second == 0)
		return NULL;
	limit = g_new0(struct rate_limit, 1);
	pthread_mutex_init(&limit->lock, NULL);
	limit->bytes_per_us = (double)bytes_per_second / G_USEC_PER_SEC;
	return limit;
}

void rate_limit_free(struct rate_limit *limit)
{
	if (!limit)
		return;
	pthread_mutex_destroy(&limit->lock);
	g_free(limit);
}

gint64 rate_limit_reserve(struct rate_limit *limit, size_t bytes)
{
	double now_us = (double)g_get_monotonic_time();
	double start_us;

	if (!limit)
		return 0;
	pthread_mutex_lock(&limit->lock);
	start_us = limit->next_us > now_us - CREDIT_US ? limit->next_us : now_us;
	limit->next_us = start_us + (double)bytes / limit->bytes_per_us;
	pthread_mutex_unlock(&limit->lock);
	return (gint64)start_us;
}
