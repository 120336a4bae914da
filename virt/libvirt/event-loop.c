/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The thread that runs libvirt's event loop.
 */
#include "virt/libvirt/event-loop.h"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdatomic.h>

#include "virt/virt.h"

struct event_loop {
	pthread_t thread;
	int timer; /* of libvirt's event loop; it wakes the thread */
	atomic_bool stopping;
};

/* Without a handler, libvirt prints each error to standard error. */
static void log_error(void *opaque, virErrorPtr error)
{
	(void)opaque;
	g_debug("libvirt: %s", error->message);
}

/* virInitialize must be called first: otherwise libvirt uses another library's thread-local data
 * for its last error. */
static void register_event_loop(void)
{
	virSetErrorFunc(NULL, log_error);
	if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0)
		g_warning("cannot register libvirt's event loop: %s", virGetLastErrorMessage());
}

static void disarm_timer(int timer, void *opaque)
{
	(void)opaque;
	virEventUpdateTimeout(timer, -1);
}

static void *event_loop_main(void *opaque)
{
	struct event_loop *loop = opaque;

	while (!atomic_load(&loop->stopping)) {
		if (virEventRunDefaultImpl() < 0)
			g_usleep(G_USEC_PER_SEC / 10);
	}
	return NULL;
}

struct event_loop *event_loop_start(GError **error)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct event_loop *loop = g_new0(struct event_loop, 1);
	int rc;

	(void)pthread_once(&once, register_event_loop);
	loop->timer = virEventAddTimeout(-1, disarm_timer, NULL, NULL);
	rc = pthread_create(&loop->thread, NULL, event_loop_main, loop);
	if (rc == 0)
		return loop;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
		    "cannot start the thread for libvirt's events: %s", g_strerror(rc));
	virEventRemoveTimeout(loop->timer);
	g_free(loop);
	return NULL;
}

void event_loop_stop(struct event_loop *loop)
{
	if (!loop)
		return;
	atomic_store(&loop->stopping, true);
	virEventUpdateTimeout(loop->timer, 0);
	pthread_join(loop->thread, NULL);
	virEventRemoveTimeout(loop->timer);
	g_free(loop);
}
