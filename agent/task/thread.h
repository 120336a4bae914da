/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starts and joins threads with a small stack, and computes deadlines of the monotonic clock for
 * pthread_cond_clockwait.
 */
#ifndef NOVASNAP_AGENT_TASK_THREAD_H
#define NOVASNAP_AGENT_TASK_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

/* Enough for a thread that waits and calls other modules. */
#define THREAD_STACK_SIZE ((size_t)512 * 1024)
/* Enough for a thread that runs a job. */
#define THREAD_JOB_STACK_SIZE ((size_t)1024 * 1024)

/* Starts a thread with a stack of `stack_size` bytes. With `ret_thread` NULL the thread is
 * detached. Returns 0 or an errno value. */
int thread_start(pthread_t *ret_thread, size_t stack_size, void *(*run)(void *opaque),
		 void *opaque);

/* Joins a thread that sets `*ended` with `lock` held and signals `changed` before it returns.
 * Returns false if it did not do so within `limit_s` seconds; it was not joined then. */
bool thread_join_within(pthread_t thread, pthread_mutex_t *lock, pthread_cond_t *changed,
			const bool *ended, unsigned limit_s);

/* The time on CLOCK_MONOTONIC that is `ms` milliseconds from now. */
struct timespec thread_deadline(unsigned ms);

#endif
