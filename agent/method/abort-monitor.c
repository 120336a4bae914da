/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One thread looks four times a second at what costs nothing, another now and then at the image: a
 * store that hangs makes nobody deaf.
 */
#include "agent/method/abort-monitor.h"

#include <pthread.h>
#include <time.h>

#define LOOK_MS 250
#define STACK_SIZE ((size_t)512 * 1024)

struct lookout {
	struct task *task;
	pthread_t thread;
	pthread_t image_thread;
	atomic_int flag;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	bool stopping;
	struct snapshot *snapshot; /* NULL: none to look after */
	GError *seen;
	gint64 image_at; /* when the image is looked at next; 0: never */
};

/* With the lock held, so that the snapshot stays. */
static void look_at_guest(struct lookout *lookout)
{
	if (lookout->snapshot && !lookout->seen &&
	    snapshot_verify_instant(lookout->snapshot, &lookout->seen) < 0)
		atomic_store(&lookout->flag, JOB_STOPPING);
}

static gint64 next_look(const struct lookout *lookout)
{
	return g_get_monotonic_time() +
	       (gint64)lookout->task->manager->config->image_poll_interval_s * G_USEC_PER_SEC;
}

/* Without the lock: it takes as long as the store takes. What cannot be asked is not gone. */
static bool image_is_gone(const struct task *task, GError **error)
{
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) local = NULL;

	if (image_store_get(task->manager->store, &task->identity, task->image_id, &record,
			    &local) < 0) {
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

/* With the lock held, which is given back for the time of the asking. */
static void look_at_image(struct lookout *lookout)
{
	g_autoptr(GError) gone = NULL;
	bool is_gone;

	pthread_mutex_unlock(&lookout->lock);
	is_gone = image_is_gone(lookout->task, &gone);
	pthread_mutex_lock(&lookout->lock);
	lookout->image_at = next_look(lookout);
	if (!is_gone || lookout->seen)
		return;
	lookout->seen = g_steal_pointer(&gone);
	atomic_store(&lookout->flag, JOB_STOPPING);
}

static void wait_a_little(struct lookout *lookout)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += LOOK_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	(void)pthread_cond_clockwait(&lookout->changed, &lookout->lock, CLOCK_MONOTONIC, &until);
}

static void *lookout_main(void *opaque)
{
	struct lookout *lookout = opaque;
	const atomic_int *cancel = job_cancel_flag(lookout->task->job);

	pthread_mutex_lock(&lookout->lock);
	while (!lookout->stopping) {
		if (atomic_load(cancel) != JOB_GOES_ON)
			atomic_store(&lookout->flag, atomic_load(cancel));
		look_at_guest(lookout);
		wait_a_little(lookout);
	}
	pthread_mutex_unlock(&lookout->lock);
	return NULL;
}

static void *image_main(void *opaque)
{
	struct lookout *lookout = opaque;

	pthread_mutex_lock(&lookout->lock);
	while (!lookout->stopping) {
		if (lookout->image_at > 0 && !lookout->seen &&
		    g_get_monotonic_time() >= lookout->image_at)
			look_at_image(lookout);
		else
			wait_a_little(lookout);
	}
	pthread_mutex_unlock(&lookout->lock);
	return NULL;
}

static void end_thread(struct lookout *lookout, pthread_t thread)
{
	pthread_mutex_lock(&lookout->lock);
	lookout->stopping = true;
	lookout->snapshot = NULL;
	pthread_cond_broadcast(&lookout->changed);
	pthread_mutex_unlock(&lookout->lock);
	pthread_join(thread, NULL);
}

struct lookout *lookout_start(struct task *task, GError **error)
{
	struct lookout *lookout = g_new0(struct lookout, 1);
	pthread_attr_t attributes;
	int rc;

	lookout->task = task;
	pthread_mutex_init(&lookout->lock, NULL);
	pthread_cond_init(&lookout->changed, NULL);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	rc = pthread_create(&lookout->thread, &attributes, lookout_main, lookout);
	if (rc == 0) {
		rc = pthread_create(&lookout->image_thread, &attributes, image_main, lookout);
		if (rc == 0) {
			pthread_attr_destroy(&attributes);
			return lookout;
		}
		end_thread(lookout, lookout->thread);
	}
	pthread_attr_destroy(&attributes);
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "cannot start the lookout's thread: %s",
		    g_strerror(rc));
	g_free(lookout);
	return NULL;
}

const atomic_int *lookout_flag(const struct lookout *lookout)
{
	return &lookout->flag;
}

void lookout_watch_image(struct lookout *lookout)
{
	pthread_mutex_lock(&lookout->lock);
	if (lookout->image_at == 0)
		lookout->image_at = next_look(lookout);
	pthread_mutex_unlock(&lookout->lock);
}

void lookout_watch(struct lookout *lookout, struct snapshot *snapshot)
{
	pthread_mutex_lock(&lookout->lock);
	lookout->snapshot = snapshot;
	pthread_mutex_unlock(&lookout->lock);
}

void lookout_explain(struct lookout *lookout, GError **error)
{
	const struct task *task = lookout->task;

	pthread_mutex_lock(&lookout->lock);
	if (atomic_load(job_cancel_flag(task->job)) != JOB_GOES_ON) {
		g_clear_error(error);
		(void)task_set_cancelled(task, error);
	} else if (lookout->seen) {
		g_clear_error(error);
		g_propagate_error(error, g_steal_pointer(&lookout->seen));
		atomic_store(&lookout->flag, JOB_GOES_ON);
	}
	pthread_mutex_unlock(&lookout->lock);
}

void lookout_stop(struct lookout *lookout)
{
	if (!lookout)
		return;
	end_thread(lookout, lookout->thread);
	end_thread(lookout, lookout->image_thread);
	g_clear_error(&lookout->seen);
	pthread_cond_destroy(&lookout->changed);
	pthread_mutex_destroy(&lookout->lock);
	g_free(lookout);
}
