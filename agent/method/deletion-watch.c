/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See deletion-watch.h.
 */
#include "agent/method/deletion-watch.h"

#include <errno.h>
#include <pthread.h>

#include "agent/task/log-context.h"
#include "agent/task/thread.h"
#include "agent/task/want.h"

/* Shorter than the 5 s that lvremove waits for a volume that is open. */
#define INTERVAL_MS 2000

struct deletion_watch {
	struct task *task;
	struct abort_monitor *monitor;
	struct nova_instance *instance; /* the thread's own copy */
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stopping; /* guarded by the lock */
};

/* Returns false when the thread must end. */
static bool wait_interval(struct deletion_watch *watch)
{
	struct timespec deadline = thread_deadline(INTERVAL_MS);
	bool stopping;

	pthread_mutex_lock(&watch->lock);
	while (!watch->stopping && pthread_cond_clockwait(&watch->changed, &watch->lock,
							  CLOCK_MONOTONIC, &deadline) == 0)
		;
	stopping = watch->stopping;
	pthread_mutex_unlock(&watch->lock);
	return !stopping;
}

static void *deletion_watch_main(void *opaque)
{
	struct deletion_watch *watch = opaque;

	log_context_set(watch->task);
	while (wait_interval(watch)) {
		GError *why = NULL;

		if (snapshot_ask_deleting(watch->task, watch->instance,
					  "its disk is not read any more", &why) == 0)
			continue;
		if (snapshot_is_deleting(why)) {
			abort_monitor_abort(watch->monitor, why);
			break;
		}
		/* A conductor that does not answer says nothing. */
		g_info("instance %s: asking whether it is being deleted: %s",
		       nova_instance_uuid(watch->instance), why->message);
		g_error_free(why);
	}
	return NULL;
}

static void deletion_watch_free(struct deletion_watch *watch)
{
	nova_instance_free(watch->instance);
	pthread_cond_destroy(&watch->changed);
	pthread_mutex_destroy(&watch->lock);
	g_free(watch);
}

struct deletion_watch *deletion_watch_start(struct task *task, struct abort_monitor *monitor)
{
	struct deletion_watch *watch;
	cJSON *object;
	int rc;

	if (!snapshot_can_ask_deleting(task))
		return NULL;
	watch = g_new0(struct deletion_watch, 1);
	object = nova_instance_object(task->instance);
	watch->task = task;
	watch->monitor = monitor;
	watch->instance = nova_instance_new(object, NULL);
	cJSON_Delete(object);
	pthread_mutex_init(&watch->lock, NULL);
	pthread_cond_init(&watch->changed, NULL);
	rc = watch->instance
		     ? thread_start(&watch->thread, THREAD_STACK_SIZE, deletion_watch_main, watch)
		     : EINVAL;
	if (rc == 0)
		return watch;
	g_warning("instance %s: it will not be noticed if it is deleted while its disk is read: %s",
		  nova_instance_uuid(task->instance), g_strerror(rc));
	deletion_watch_free(watch);
	return NULL;
}

void deletion_watch_stop(struct deletion_watch *watch)
{
	if (!watch)
		return;
	pthread_mutex_lock(&watch->lock);
	watch->stopping = true;
	pthread_cond_broadcast(&watch->changed);
	pthread_mutex_unlock(&watch->lock);
	pthread_join(watch->thread, NULL);
	deletion_watch_free(watch);
}
