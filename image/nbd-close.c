/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a program that serves an export. libnbd asks it to end and waits for it, without a
 * limit: one that is stopped is killed, one that hangs in the kernel is left to a thread.
 */
#include <libnbd.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "image/internal.h"

#define CLOSE_S 5
#define KILL_S 2

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

static bool wait_closed(struct closing *closing, unsigned seconds)
{
	struct timespec until;
	bool closed;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += seconds;
	pthread_mutex_lock(&closing->lock);
	while (!closing->closed && pthread_cond_clockwait(&closing->changed, &closing->lock,
							  CLOCK_MONOTONIC, &until) == 0)
		;
	closed = closing->closed;
	pthread_mutex_unlock(&closing->lock);
	return closed;
}

/* False when the thread ended after all. */
static bool leave(struct closing *closing)
{
	pthread_mutex_lock(&closing->lock);
	closing->left = !closing->closed;
	pthread_mutex_unlock(&closing->lock);
	return closing->left;
}

void nbd_close_in_time(struct nbd_handle *nbd, pid_t pid)
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
	if (!wait_closed(closing, CLOSE_S) && pid > 0) {
		g_warning("the program that serves a disk (pid %d) did not end in %d s: it is "
			  "killed",
			  (int)pid, CLOSE_S);
		/* It is nobody else yet: libnbd has not waited for it. */
		(void)kill(pid, SIGKILL);
	}
	if (wait_closed(closing, KILL_S) || !leave(closing)) {
		pthread_join(thread, NULL);
		closing_free(closing);
		return;
	}
	pthread_detach(thread);
	g_warning("the program that serves a disk (pid %d) cannot be ended: it is left to itself",
		  (int)pid);
}

pid_t nbd_youngest_child(void)
{
	g_autofree char *path =
		g_strdup_printf("/proc/self/task/%ld/children", syscall(SYS_gettid));
	g_autofree char *text = NULL;
	const char *last;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return 0;
	g_strchomp(text);
	last = strrchr(text, ' ');
	return (pid_t)strtol(last ? last + 1 : text, NULL, 10);
}
