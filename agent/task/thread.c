/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See thread.h.
 */
#include "agent/task/thread.h"

#define NS_PER_S 1000000000L
#define NS_PER_MS 1000000L

int thread_start(pthread_t *ret_thread, size_t stack_size, void *(*run)(void *opaque), void *opaque)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int rc;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, stack_size);
	if (!ret_thread)
		pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	rc = pthread_create(ret_thread ? ret_thread : &thread, &attributes, run, opaque);
	pthread_attr_destroy(&attributes);
	return rc;
}

struct timespec thread_deadline(unsigned ms)
{
	struct timespec deadline;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += ms / 1000;
	deadline.tv_nsec += (long)(ms % 1000) * NS_PER_MS;
	if (deadline.tv_nsec >= NS_PER_S) {
		deadline.tv_sec++;
		deadline.tv_nsec -= NS_PER_S;
	}
	return deadline;
}

bool thread_join_within(pthread_t thread, pthread_mutex_t *lock, pthread_cond_t *changed,
			const bool *ended, unsigned limit_s)
{
	struct timespec until = thread_deadline(limit_s * 1000);
	bool has_ended;
	int rc = 0;

	pthread_mutex_lock(lock);
	while (!*ended && rc == 0)
		rc = pthread_cond_clockwait(changed, lock, CLOCK_MONOTONIC, &until);
	has_ended = *ended;
	pthread_mutex_unlock(lock);
	if (has_ended)
		pthread_join(thread, NULL);
	return has_ended;
}
