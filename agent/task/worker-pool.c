/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One mutex guards everything. A single condition variable is signalled at every change, because
 * there are few waiters.
 */
#include "agent/task/worker-pool.h"

#include <pthread.h>

#include "agent/task/thread.h"

/* Further jobs wait for a thread. */
#define MAX_THREADS 128

/* Why a job must end: bits of its abort flag. */
enum abort_reason {
	ABORT_CANCELLED = 1 << 0,   /* by `novasnap cancel` */
	ABORT_OUT_OF_TIME = 1 << 1, /* novasnapd is stopping, and the grace time is over */
};

struct job {
	struct worker_pool *pool;
	char *key;
	char *name; /* NULL: none; then it cannot be cancelled */
	const struct job_ops *ops;
	void *opaque;
	atomic_int abort;    /* bits of enum abort_reason */
	bool has_slot;	     /* used only by its own thread */
	bool released_key;   /* the same */
	bool refuses_cancel; /* guarded by the pool's lock */
	bool has_ended;	     /* the same: its data may be freed */
};

struct worker_pool {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* All guarded by the lock. */
	GQueue waiting;	     /* struct job, in the order of arrival */
	GHashTable *running; /* set of struct job */
	GHashTable *keys;    /* set of the keys that running jobs hold */
	unsigned slots;	     /* 0: no limit */
	unsigned slots_in_use;
	bool stopping;
	bool skip_grace;
};

static void *job_main(void *opaque);

struct worker_pool *worker_pool_new(unsigned slots)
{
	struct worker_pool *pool = g_new0(struct worker_pool, 1);

	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->changed, NULL);
	g_queue_init(&pool->waiting);
	pool->running = g_hash_table_new(NULL, NULL);
	pool->keys = g_hash_table_new(g_str_hash, g_str_equal);
	pool->slots = slots;
	return pool;
}

void worker_pool_free(struct worker_pool *pool)
{
	if (!pool)
		return;
	g_hash_table_unref(pool->running);
	g_hash_table_unref(pool->keys);
	pthread_cond_destroy(&pool->changed);
	pthread_mutex_destroy(&pool->lock);
	g_free(pool);
}

static void free_job_itself(struct job *job)
{
	g_free(job->key);
	g_free(job->name);
	g_free(job);
}

/* Without the lock: the callback may take locks under which others call the pool. */
static void job_free(struct job *job)
{
	job->ops->free(job->opaque);
	free_job_itself(job);
}

/* With the lock held. */
static void remove_running_job(struct worker_pool *pool, struct job *job)
{
	g_hash_table_remove(pool->running, job);
	if (!job->released_key)
		g_hash_table_remove(pool->keys, job->key);
}

/* Starts every waiting job that may run. With the lock held. If a thread cannot be started, the job
 * keeps waiting: it is tried again when another job ends. */
static void start_waiting_jobs(struct worker_pool *pool)
{
	GList *link = pool->waiting.head;

	while (link && !pool->stopping && g_hash_table_size(pool->running) < MAX_THREADS) {
		GList *next = link->next;
		struct job *job = link->data;

		if (!g_hash_table_contains(pool->keys, job->key)) {
			int rc;

			g_hash_table_add(pool->running, job);
			g_hash_table_add(pool->keys, job->key);
			rc = thread_start(NULL, THREAD_JOB_STACK_SIZE, job_main, job);
			if (rc != 0) {
				remove_running_job(pool, job);
				g_warning("cannot start a thread for instance %s: %s; its job "
					  "waits",
					  job->key, g_strerror(rc));
				return;
			}
			g_queue_delete_link(&pool->waiting, link);
		}
		link = next;
	}
}

void worker_pool_start_waiting(struct worker_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	start_waiting_jobs(pool);
	pthread_mutex_unlock(&pool->lock);
}

void worker_pool_submit(struct worker_pool *pool, const char *key, const char *name,
			const struct job_ops *ops, void *opaque)
{
	struct job *job = g_new0(struct job, 1);
	bool stopping;

	job->pool = pool;
	job->key = g_strdup(key);
	job->name = g_strdup(name);
	job->ops = ops;
	job->opaque = opaque;
	pthread_mutex_lock(&pool->lock);
	stopping = pool->stopping;
	if (!stopping) {
		g_queue_push_tail(&pool->waiting, job);
		start_waiting_jobs(pool);
	}
	pthread_mutex_unlock(&pool->lock);
	if (stopping)
		job_free(job);
}

static void *job_main(void *opaque)
{
	struct job *job = opaque;
	struct worker_pool *pool = job->pool;

	job->ops->run(job, job->opaque);
	job_release_slot(job);
	pthread_mutex_lock(&pool->lock);
	job->has_ended = true;
	pthread_mutex_unlock(&pool->lock);
	/* It still counts as running, so worker_pool_stop waits for this too. */
	job->ops->free(job->opaque);
	pthread_mutex_lock(&pool->lock);
	remove_running_job(pool, job);
	free_job_itself(job);
	start_waiting_jobs(pool);
	pthread_cond_broadcast(&pool->changed);
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

/* With the lock held. */
static void abort_running_jobs(struct worker_pool *pool)
{
	GHashTableIter iter;
	gpointer job;

	g_hash_table_iter_init(&iter, pool->running);
	while (g_hash_table_iter_next(&iter, &job, NULL))
		(void)atomic_fetch_or(&((struct job *)job)->abort, ABORT_OUT_OF_TIME);
	pthread_cond_broadcast(&pool->changed);
}

/* With the lock held. Returns how many jobs were cancelled: 0 or 1. */
static unsigned cancel_if_named(struct job *job, const char *id)
{
	if (!job->name || job->refuses_cancel || job->has_ended ||
	    (!g_str_equal(job->key, id) && !g_str_equal(job->name, id)))
		return 0;
	(void)atomic_fetch_or(&job->abort, ABORT_CANCELLED);
	return 1;
}

unsigned worker_pool_cancel(struct worker_pool *pool, const char *id)
{
	GHashTableIter iter;
	gpointer job;
	unsigned count = 0;

	pthread_mutex_lock(&pool->lock);
	for (GList *link = pool->waiting.head; link; link = link->next)
		count += cancel_if_named(link->data, id);
	g_hash_table_iter_init(&iter, pool->running);
	while (g_hash_table_iter_next(&iter, &job, NULL))
		count += cancel_if_named(job, id);
	pthread_cond_broadcast(&pool->changed);
	pthread_mutex_unlock(&pool->lock);
	return count;
}

/* With the lock held: the job's data is not freed meanwhile. */
static void describe_job(const struct job *job, cJSON *into)
{
	cJSON *object;

	if (!job->ops->describe || job->has_ended)
		return;
	object = cJSON_CreateObject();
	cJSON_AddStringToObject(object, "instance", job->key);
	if (job->name)
		cJSON_AddStringToObject(object, "image", job->name);
	job->ops->describe(job->opaque, object);
	cJSON_AddItemToArray(into, object);
}

unsigned worker_pool_describe(struct worker_pool *pool, cJSON *running, cJSON *waiting)
{
	GHashTableIter iter;
	gpointer value;
	unsigned described = 0;
	unsigned count;

	pthread_mutex_lock(&pool->lock);
	count = g_queue_get_length(&pool->waiting);
	for (GList *link = pool->waiting.head; link && described < WORKER_POOL_DESCRIBED;
	     link = link->next, described++)
		describe_job(link->data, waiting);
	g_hash_table_iter_init(&iter, pool->running);
	while (g_hash_table_iter_next(&iter, &value, NULL))
		describe_job(value, running);
	pthread_mutex_unlock(&pool->lock);
	return count;
}

/* Waits until no job is running, the time is over, or the grace time is skipped. With the lock
 * held. */
static void wait_until_idle(struct worker_pool *pool, unsigned seconds, bool is_grace)
{
	struct timespec deadline = thread_deadline(0);

	deadline.tv_sec += seconds;
	while (g_hash_table_size(pool->running) > 0 && !(is_grace && pool->skip_grace)) {
		if (pthread_cond_clockwait(&pool->changed, &pool->lock, CLOCK_MONOTONIC,
					   &deadline) != 0)
			return;
	}
}

unsigned worker_pool_drain(struct worker_pool *pool, unsigned grace_s)
{
	GQueue dropped = G_QUEUE_INIT;
	struct job *job;
	unsigned running;

	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->changed);
	while ((job = g_queue_pop_head(&pool->waiting)))
		g_queue_push_tail(&dropped, job);
	wait_until_idle(pool, grace_s, true);
	running = g_hash_table_size(pool->running);
	pthread_mutex_unlock(&pool->lock);
	while ((job = g_queue_pop_head(&dropped)))
		job_free(job);
	return running;
}

unsigned worker_pool_stop(struct worker_pool *pool, unsigned grace_s, unsigned abort_s)
{
	unsigned running;

	(void)worker_pool_drain(pool, grace_s);
	pthread_mutex_lock(&pool->lock);
	abort_running_jobs(pool);
	wait_until_idle(pool, abort_s, false);
	running = g_hash_table_size(pool->running);
	pthread_mutex_unlock(&pool->lock);
	return running;
}

void worker_pool_skip_grace(struct worker_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	/* A job whose calls end from now on must see why. */
	pool->stopping = true;
	pool->skip_grace = true;
	pthread_cond_broadcast(&pool->changed);
	pthread_mutex_unlock(&pool->lock);
}

const atomic_int *job_abort_flag(const struct job *job)
{
	return &job->abort;
}

bool job_is_cancelled(const struct job *job)
{
	return atomic_load(&job->abort) & ABORT_CANCELLED;
}

bool job_is_out_of_time(const struct job *job)
{
	return atomic_load(&job->abort) & ABORT_OUT_OF_TIME;
}

bool job_is_stopping(struct job *job)
{
	bool stopping;

	pthread_mutex_lock(&job->pool->lock);
	stopping = job->pool->stopping;
	pthread_mutex_unlock(&job->pool->lock);
	return stopping;
}

static bool wait_in_job(struct job *job, unsigned ms, bool despite_cancel)
{
	struct worker_pool *pool = job->pool;
	struct timespec deadline = thread_deadline(ms);
	bool goes_on;
	int rc = 0;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		goes_on = !pool->stopping && (despite_cancel || !job_is_cancelled(job));
		if (!goes_on || rc != 0)
			break;
		rc = pthread_cond_clockwait(&pool->changed, &pool->lock, CLOCK_MONOTONIC,
					    &deadline);
	}
	pthread_mutex_unlock(&pool->lock);
	return goes_on;
}

bool job_wait(struct job *job, unsigned ms)
{
	return wait_in_job(job, ms, false);
}

bool job_wait_despite_cancel(struct job *job, unsigned ms)
{
	return wait_in_job(job, ms, true);
}

bool job_refuse_cancel(struct job *job)
{
	bool refuses;

	pthread_mutex_lock(&job->pool->lock);
	refuses = !job_is_cancelled(job);
	job->refuses_cancel = refuses;
	pthread_mutex_unlock(&job->pool->lock);
	return refuses;
}

void job_release_key(struct job *job)
{
	struct worker_pool *pool = job->pool;

	if (job->released_key)
		return;
	pthread_mutex_lock(&pool->lock);
	g_hash_table_remove(pool->keys, job->key);
	job->released_key = true;
	start_waiting_jobs(pool);
	pthread_mutex_unlock(&pool->lock);
}

bool job_holds_key(const struct job *job)
{
	return !job->released_key;
}

bool job_acquire_slot(struct job *job)
{
	struct worker_pool *pool = job->pool;

	pthread_mutex_lock(&pool->lock);
	while (pool->slots > 0 && pool->slots_in_use >= pool->slots && !pool->stopping &&
	       atomic_load(&job->abort) == 0)
		pthread_cond_wait(&pool->changed, &pool->lock);
	job->has_slot = !pool->stopping && atomic_load(&job->abort) == 0;
	if (job->has_slot)
		pool->slots_in_use++;
	pthread_mutex_unlock(&pool->lock);
	return job->has_slot;
}

void job_release_slot(struct job *job)
{
	struct worker_pool *pool = job->pool;

	if (!job->has_slot)
		return;
	job->has_slot = false;
	pthread_mutex_lock(&pool->lock);
	pool->slots_in_use--;
	pthread_cond_broadcast(&pool->changed);
	pthread_mutex_unlock(&pool->lock);
}
