/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starts threads, and waits for other threads.
 */
#ifndef NOVASNAP_IMAGE_THREAD_H
#define NOVASNAP_IMAGE_THREAD_H

#include <pthread.h>

/*
 * Starts a joinable thread with a stack of 512 KiB, which runs `run(opaque)`. Returns 0, or an
 * errno value.
 */
int image_thread_start(pthread_t *ret_thread, void *(*run)(void *opaque), void *opaque);

/*
 * Waits until `changed` is signalled, but at most 250 ms, so that the caller can check its cancel
 * flag. The caller holds `lock` and checks its condition again, as after pthread_cond_wait().
 */
void image_thread_wait(pthread_cond_t *changed, pthread_mutex_t *lock);

#endif
