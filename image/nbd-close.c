/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a program that serves an export. libnbd ends it and waits for it, without a limit: one
 * that is stopped, or hangs in the kernel, is left to a thread.
 */
#include <libnbd.h>
#include <pthread.h>
#include <time.h>

#include "image/internal.h"

#define CLOSE_S 5

struct closing {
	struct nbd_handle *nbd;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool closed;
	bool left; /* the thread is the owner of all of it */
};

static void closing_free(struct closing *closing)
{
	pthread_cond_destroy(&closing->changed);
	pthread_mutex_destroy(&closing->lock);
	g_free(closing);
}

static void *close_main(void *opaque)
{
	struct closing *closing = opaque;
	bool left;

	nbd_close(closing->nbd);
	pthread_mutex_lock(&closing->lock);
	closing->closed = true;
	left = closing->left;
	pthread_cond_signal(&closing->changed);
	pthread_mutex_unlock(&closing->lock);
	if (left)
		closing_free(closing);
	return NULL;
}

static bool wait_closed(struct closing *closing)
{
	struct timespec until;
	bool closed;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += CLOSE_S;
	pthread_mutex_lock(&closing->lock);
	while (!closing->closed && pthread_cond_clockwait(&closing->changed, &closing->lock,
							  CLOCK_MONOTONIC, &until) == 0)
		;
	closed = closing->closed;
	closing->left = !closed;
	pthread_mutex_unlock(&closing->lock);
	return closed;
}

void nbd_close_in_time(struct nbd_handle *nbd)
{
	struct closing *closing = g_new0(struct closing, 1);
	pthread_t thread;

	closing->nbd = nbd;
	pthread_mutex_init(&closing->lock, NULL);
	pthread_cond_init(&closing->changed, NULL);
	if (pthread_create(&thread, NULL, close_main, closing) != 0) {
		nbd_close(nbd);
		closing_free(closing);
		return;
	}
	if (wait_closed(closing)) {
		pthread_join(thread, NULL);
		closing_free(closing);
		return;
	}
	pthread_detach(thread);
	g_warning("the program that serves a disk does not end in %d s: it is left to itself",
		  CLOSE_S);
}
