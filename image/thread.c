/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting for another thread, and looking around meanwhile.
 */
#include <time.h>

#include "image/internal.h"

#define LOOK_MS 250

void image_wait_a_little(pthread_cond_t *changed, pthread_mutex_t *lock)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += LOOK_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	(void)pthread_cond_clockwait(changed, lock, CLOCK_MONOTONIC, &until);
}
