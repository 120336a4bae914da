/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting on a condition variable for a limited time.
 */
#include "virt/timed-wait.h"

#include <time.h>

#define NS_PER_S 1000000000L
#define NS_PER_MS 1000000L

void timed_wait(pthread_cond_t *changed, pthread_mutex_t *lock, unsigned ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * NS_PER_MS;
	if (until.tv_nsec >= NS_PER_S) {
		until.tv_sec++;
		until.tv_nsec -= NS_PER_S;
	}
	(void)pthread_cond_clockwait(changed, lock, CLOCK_MONOTONIC, &until);
}
