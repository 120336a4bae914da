/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One mutex guards all of it; one condition variable tells of every change, for there are few
 * waiters.
 */
#include "agent/task/worker-pool.h"

#include <pthread.h>
#include <time.h>

/* More jobs than this wait for a thread, unacked at the broker. */
#define MAX_THREADS 128
#define STACK_SIZE ((size_t)1024 * 1024)

struct job {
	struct jobs *jobs;
	char *key;
	char *name; /* NULL: none, it is not cancelled by one */
	const struct job_ops *ops;
	void *opaque;
	atomic_int cancel;
	bool has_place; /* its own thread's */
	bool settled;	/* guarded by the lock of all */
};

struct jobs {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* All guarded by the lock. */
	GQueue waiting;	     /* struct job, in the order in which they came */
	GHashTable *running; /* key -> struct job */
	unsigned places;     /* 0: no limit */
	unsigned places_taken;
	bool stopping;
	bool hurried;
};

static void *job_main(void *opaque);

struct jobs *jobs_new(unsigned places)
{
	struct jobs *jobs = g_new0(struct jobs, 1);

	pthread_mutex_init(&jobs->lock, NULL);
	pthread_cond_init(&jobs->changed, NULL);
	g_queue_init(&jobs->waiting);
	jobs->running = g_hash_table_new(g_str_hash, g_str_equal);
	jobs->places = places;
	return jobs;
}

void jobs_free(struct jobs *jobs)
{
	if (!jobs)
		return;
	g_hash_table_unref(jobs->running);
	pthread_cond_destroy(&jobs->changed);
	pthread_mutex_destroy(&jobs->lock);
	g_free(jobs);
}

static void job_free(struct job *job)
{
	job->ops->free(job->opaque);
	g_free(job->key);
	g_free(job->name);
	g_free(job);
}

static int start_thread(struct job *job)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int rc;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	rc = pthread_create(&thread, &attributes, job_main, job);
	pthread_attr_destroy(&attributes);
	return rc;
}

/* Starts every waiting job that may run. With the lock held. A thread that cannot be had leaves its
 * job waiting: the next job that ends tries again. */
static void start_waiting(struct jobs *jobs)
{
	GList *link = jobs->waiting.head;

	while (link && !jobs->stopping && g_hash_table_size(jobs->running) < MAX_THREADS) {
		GList *next = link->next;
		struct job *job = link->data;

		if (!g_hash_table_contains(jobs->running, job->key)) {
			int rc;

			g_hash_table_insert(jobs->running, job->key, job);
			rc = start_thread(job);
			if (rc != 0) {
				g_hash_table_remove(jobs->running, job->key);
				g_warning("cannot start a thread for instance %s: %s; it waits",
					  job->key, g_strerror(rc));
				return;
			}
			g_queue_delete_link(&jobs->waiting, link);
		}
		link = next;
	}
}

void jobs_submit(struct jobs *jobs, const char *key, const char *name, const struct job_ops *ops,
		 void *opaque)
{
	struct job *job = g_new0(struct job, 1);
	bool stopping;

	job->jobs = jobs;
	job->key = g_strdup(key);
	job->name = g_strdup(name);
	job->ops = ops;
	job->opaque = opaque;
	pthread_mutex_lock(&jobs->lock);
	stopping = jobs->stopping;
	if (!stopping) {
		g_queue_push_tail(&jobs->waiting, job);
		start_waiting(jobs);
	}
	pthread_mutex_unlock(&jobs->lock);
	if (stopping)
		job_free(job);
}

static void *job_main(void *opaque)
{
	struct job *job = opaque;
	struct jobs *jobs = job->jobs;

	job->ops->run(job, job->opaque);
	job_give_place(job);
	pthread_mutex_lock(&jobs->lock);
	g_hash_table_remove(jobs->running, job->key);
	job_free(job);
	start_waiting(jobs);
	pthread_cond_broadcast(&jobs->changed);
	pthread_mutex_unlock(&jobs->lock);
	return NULL;
}

static void cancel_running(struct jobs *jobs)
{
	GHashTableIter iter;
	gpointer job;

	g_hash_table_iter_init(&iter, jobs->running);
	while (g_hash_table_iter_next(&iter, NULL, &job))
		atomic_store(&((struct job *)job)->cancel, JOB_STOPPING);
	pthread_cond_broadcast(&jobs->changed);
}

static unsigned cancel_if(struct job *job, const char *id)
{
	if (!job->name || job->settled ||
	    (!g_str_equal(job->key, id) && !g_str_equal(job->name, id)))
		return 0;
	atomic_store(&job->cancel, JOB_CANCELLED);
	return 1;
}

unsigned jobs_cancel(struct jobs *jobs, const char *id)
{
	GHashTableIter iter;
	gpointer job;
	unsigned count = 0;

	pthread_mutex_lock(&jobs->lock);
	/* One that waits runs all the same, to tell of its end. */
	for (GList *link = jobs->waiting.head; link; link = link->next)
		count += cancel_if(link->data, id);
	g_hash_table_iter_init(&iter, jobs->running);
	while (g_hash_table_iter_next(&iter, NULL, &job))
		count += cancel_if(job, id);
	pthread_cond_broadcast(&jobs->changed);
	pthread_mutex_unlock(&jobs->lock);
	return count;
}

unsigned jobs_tell(struct jobs *jobs, cJSON *into)
{
	GHashTableIter iter;
	gpointer value;
	unsigned waiting;

	pthread_mutex_lock(&jobs->lock);
	waiting = g_queue_get_length(&jobs->waiting);
	g_hash_table_iter_init(&iter, jobs->running);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct job *job = value;
		cJSON *object = job->ops->tell ? cJSON_CreateObject() : NULL;

		if (object) {
			cJSON_AddStringToObject(object, "instance", job->key);
			if (job->name)
				cJSON_AddStringToObject(object, "image", job->name);
			job->ops->tell(job->opaque, object);
			cJSON_AddItemToArray(into, object);
		}
	}
	pthread_mutex_unlock(&jobs->lock);
	return waiting;
}

/* Until no job runs, the time is over, or (where that counts) somebody is in a hurry. */
static void wait_for_end(struct jobs *jobs, unsigned seconds, bool may_hurry)
{
	struct timespec deadline;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += seconds;
	while (g_hash_table_size(jobs->running) > 0 && !(may_hurry && jobs->hurried)) {
		if (pthread_cond_clockwait(&jobs->changed, &jobs->lock, CLOCK_MONOTONIC,
					   &deadline) != 0)
			return;
	}
}

unsigned jobs_stop(struct jobs *jobs, unsigned grace_s, unsigned cancel_s)
{
	GQueue dropped = G_QUEUE_INIT;
	struct job *job;
	unsigned left;

	pthread_mutex_lock(&jobs->lock);
	jobs->stopping = true;
	pthread_cond_broadcast(&jobs->changed);
	while ((job = g_queue_pop_head(&jobs->waiting)))
		g_queue_push_tail(&dropped, job);
	wait_for_end(jobs, grace_s, true);
	cancel_running(jobs);
	wait_for_end(jobs, cancel_s, false);
	left = g_hash_table_size(jobs->running);
	pthread_mutex_unlock(&jobs->lock);
	while ((job = g_queue_pop_head(&dropped)))
		job_free(job);
	return left;
}

void jobs_hurry(struct jobs *jobs)
{
	pthread_mutex_lock(&jobs->lock);
	jobs->hurried = true;
	pthread_cond_broadcast(&jobs->changed);
	pthread_mutex_unlock(&jobs->lock);
}

const atomic_int *job_cancel_flag(const struct job *job)
{
	return &job->cancel;
}

/* With the lock held. */
static bool is_stopping(const struct job *job)
{
	return job->jobs->stopping || atomic_load(&job->cancel) == JOB_STOPPING;
}

static bool wait_while(struct job *job, unsigned ms, enum job_cancel most)
{
	struct jobs *jobs = job->jobs;
	struct timespec until;
	bool goes_on;
	int rc = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	pthread_mutex_lock(&jobs->lock);
	for (;;) {
		goes_on = !is_stopping(job) &&
			  (atomic_load(&job->cancel) == JOB_GOES_ON || most == JOB_CANCELLED);
		if (!goes_on || rc != 0)
			break;
		rc = pthread_cond_clockwait(&jobs->changed, &jobs->lock, CLOCK_MONOTONIC, &until);
	}
	pthread_mutex_unlock(&jobs->lock);
	return goes_on;
}

bool job_wait(struct job *job, unsigned ms)
{
	return wait_while(job, ms, JOB_GOES_ON);
}

bool job_wait_stop(struct job *job, unsigned ms)
{
	return wait_while(job, ms, JOB_CANCELLED);
}

bool job_is_stopping(struct job *job)
{
	bool stopping;

	pthread_mutex_lock(&job->jobs->lock);
	stopping = is_stopping(job);
	pthread_mutex_unlock(&job->jobs->lock);
	return stopping;
}

bool job_settle(struct job *job)
{
	pthread_mutex_lock(&job->jobs->lock);
	job->settled = atomic_load(&job->cancel) != JOB_CANCELLED;
	pthread_mutex_unlock(&job->jobs->lock);
	return job->settled;
}

bool job_take_place(struct job *job)
{
	struct jobs *jobs = job->jobs;

	pthread_mutex_lock(&jobs->lock);
	while (jobs->places > 0 && jobs->places_taken >= jobs->places &&
	       atomic_load(&job->cancel) == 0)
		pthread_cond_wait(&jobs->changed, &jobs->lock);
	job->has_place = atomic_load(&job->cancel) == 0;
	if (job->has_place)
		jobs->places_taken++;
	pthread_mutex_unlock(&jobs->lock);
	return job->has_place;
}

void job_give_place(struct job *job)
{
	struct jobs *jobs = job->jobs;

	if (!job->has_place)
		return;
	job->has_place = false;
	pthread_mutex_lock(&jobs->lock);
	jobs->places_taken--;
	pthread_cond_broadcast(&jobs->changed);
	pthread_mutex_unlock(&jobs->lock);
}
