/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One thread checks the conditions that need no request, four times a second. Another one queries
 * the image store from time to time, so that a hanging store does not delay the first one.
 */
#include "agent/method/abort-monitor.h"

#include <pthread.h>

#include "agent/task/log-context.h"
#include "agent/task/thread.h"

#define INTERVAL_MS 250

/* Values of the flag. */
enum { GO_ON, ABORT };

struct abort_monitor {
	struct task *task;
	pthread_t thread;
	pthread_t image_thread;
	atomic_int flag;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	bool stopping;
	struct snapshot *snapshot; /* whose guest is monitored; NULL: none */
	GError *reason;		   /* set by a check; NULL: none */
	gint64 image_at;	   /* monotonic us of the next image check; 0: never */
};

/* With the lock held, so that the snapshot is not freed meanwhile. */
static void monitor_check_guest(struct abort_monitor *monitor)
{
	if (monitor->snapshot && !monitor->reason &&
	    snapshot_verify_instant(monitor->snapshot, &monitor->reason) < 0)
		atomic_store(&monitor->flag, ABORT);
}

static gint64 next_image_check(const struct abort_monitor *monitor)
{
	return g_get_monotonic_time() +
	       (gint64)monitor->task->agent->config->image_poll_interval_s * G_USEC_PER_SEC;
}

/* Without the lock, because the store may be slow. If the store does not answer, the image may
 * still exist. */
static bool is_image_gone(const struct task *task, GError **error)
{
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) local = NULL;

	if (image_store_get(task->agent->store, &task->identity, task->image_id, &record, &local) <
	    0) {
		if (!g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND))
			return false;
	} else if (g_strcmp0(record->status, "deleted") != 0 &&
		   g_strcmp0(record->status, "pending_delete") != 0 &&
		   g_strcmp0(record->status, "killed") != 0) {
		return false;
	}
	g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_GONE, "image %s was deleted during its upload",
		    task->image_id);
	return true;
}

/* With the lock held; it is released while the store is queried. */
static void monitor_check_image(struct abort_monitor *monitor)
{
	g_autoptr(GError) local = NULL;
	bool is_gone;

	pthread_mutex_unlock(&monitor->lock);
	is_gone = is_image_gone(monitor->task, &local);
	pthread_mutex_lock(&monitor->lock);
	monitor->image_at = next_image_check(monitor);
	if (!is_gone || monitor->reason)
		return;
	monitor->reason = g_steal_pointer(&local);
	atomic_store(&monitor->flag, ABORT);
}

/* With the lock held. */
static void wait_interval(struct abort_monitor *monitor)
{
	struct timespec deadline = thread_deadline(INTERVAL_MS);

	(void)pthread_cond_clockwait(&monitor->changed, &monitor->lock, CLOCK_MONOTONIC, &deadline);
}

static void *monitor_main(void *opaque)
{
	struct abort_monitor *monitor = opaque;
	const atomic_int *job_flag = job_abort_flag(monitor->task->job);

	log_context_set(monitor->task);
	pthread_mutex_lock(&monitor->lock);
	while (!monitor->stopping) {
		if (atomic_load(job_flag) != 0)
			atomic_store(&monitor->flag, ABORT);
		monitor_check_guest(monitor);
		wait_interval(monitor);
	}
	pthread_mutex_unlock(&monitor->lock);
	return NULL;
}

static void *image_monitor_main(void *opaque)
{
	struct abort_monitor *monitor = opaque;

	log_context_set(monitor->task);
	pthread_mutex_lock(&monitor->lock);
	while (!monitor->stopping) {
		if (monitor->image_at > 0 && !monitor->reason &&
		    g_get_monotonic_time() >= monitor->image_at)
			monitor_check_image(monitor);
		else
			wait_interval(monitor);
	}
	pthread_mutex_unlock(&monitor->lock);
	return NULL;
}

static void join_thread(struct abort_monitor *monitor, pthread_t thread)
{
	pthread_mutex_lock(&monitor->lock);
	monitor->stopping = true;
	monitor->snapshot = NULL;
	pthread_cond_broadcast(&monitor->changed);
	pthread_mutex_unlock(&monitor->lock);
	pthread_join(thread, NULL);
}

static void free_monitor(struct abort_monitor *monitor)
{
	g_clear_error(&monitor->reason);
	pthread_cond_destroy(&monitor->changed);
	pthread_mutex_destroy(&monitor->lock);
	g_free(monitor);
}

struct abort_monitor *abort_monitor_start(struct task *task, GError **error)
{
	struct abort_monitor *monitor = g_new0(struct abort_monitor, 1);
	int rc;

	monitor->task = task;
	pthread_mutex_init(&monitor->lock, NULL);
	pthread_cond_init(&monitor->changed, NULL);
	rc = thread_start(&monitor->thread, THREAD_STACK_SIZE, monitor_main, monitor);
	if (rc == 0) {
		rc = thread_start(&monitor->image_thread, THREAD_STACK_SIZE, image_monitor_main,
				  monitor);
		if (rc == 0)
			return monitor;
		join_thread(monitor, monitor->thread);
	}
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
		    "cannot start the thread that monitors the snapshot: %s", g_strerror(rc));
	free_monitor(monitor);
	return NULL;
}

const atomic_int *abort_monitor_flag(const struct abort_monitor *monitor)
{
	return &monitor->flag;
}

void abort_monitor_watch_image(struct abort_monitor *monitor)
{
	pthread_mutex_lock(&monitor->lock);
	if (monitor->image_at == 0)
		monitor->image_at = next_image_check(monitor);
	pthread_mutex_unlock(&monitor->lock);
}

void abort_monitor_watch_guest(struct abort_monitor *monitor, struct snapshot *snapshot)
{
	pthread_mutex_lock(&monitor->lock);
	monitor->snapshot = snapshot;
	pthread_mutex_unlock(&monitor->lock);
}

void abort_monitor_abort(struct abort_monitor *monitor, GError *why)
{
	pthread_mutex_lock(&monitor->lock);
	if (monitor->reason) {
		g_error_free(why);
	} else {
		monitor->reason = why;
		atomic_store(&monitor->flag, ABORT);
	}
	pthread_mutex_unlock(&monitor->lock);
}

bool abort_monitor_end_reading(struct abort_monitor *monitor)
{
	abort_monitor_watch_guest(monitor, NULL);
	return atomic_load(&monitor->flag) == GO_ON;
}

void abort_monitor_explain(struct abort_monitor *monitor, GError **error)
{
	const struct task *task = monitor->task;

	pthread_mutex_lock(&monitor->lock);
	if (atomic_load(job_abort_flag(task->job)) != 0) {
		g_clear_error(error);
		(void)task_fail_cancelled(task, error);
	} else if (monitor->reason) {
		g_clear_error(error);
		g_propagate_error(error, g_steal_pointer(&monitor->reason));
		atomic_store(&monitor->flag, GO_ON);
	}
	pthread_mutex_unlock(&monitor->lock);
}

void abort_monitor_stop(struct abort_monitor *monitor)
{
	if (!monitor)
		return;
	join_thread(monitor, monitor->thread);
	join_thread(monitor, monitor->image_thread);
	free_monitor(monitor);
}
