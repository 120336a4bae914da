/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting on a condition variable for a limited time.
 */
#ifndef NOVASNAP_VIRT_TIMED_WAIT_H
#define NOVASNAP_VIRT_TIMED_WAIT_H

#include <pthread.h>

/* Waits, with the lock held, until the condition is signalled or `ms` milliseconds have passed. */
void timed_wait(pthread_cond_t *changed, pthread_mutex_t *lock, unsigned ms);

#endif
