/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Jobs. Each runs in its own thread. Jobs with the same key (an instance) run one at a time, in the
 * order of submission, unless a job releases its key. A job that takes a snapshot must acquire a
 * slot first (max_concurrent_snapshots); other jobs need none.
 */
#ifndef NOVASNAP_AGENT_WORKER_POOL_H
#define NOVASNAP_AGENT_WORKER_POOL_H

#include <cjson/cJSON.h>
#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>

struct worker_pool;
struct job;

struct job_ops {
	/* Runs the job in its thread. It must end soon after its abort flag is set. */
	void (*run)(struct job *job, void *opaque);
	/* Frees the job's data. Called once, also for a job that never ran, and with no lock of the
	 * pool held. Jobs with the same key wait until it has returned. */
	void (*free)(void *opaque);
	/* Adds a description of the job's activity to an object, from another thread while it runs.
	 * May be NULL. */
	void (*describe)(const void *opaque, cJSON *into);
};

/* `slots`: the number of concurrent snapshots; 0: no limit. */
struct worker_pool *worker_pool_new(unsigned slots);
/* Call it after worker_pool_stop has returned 0. Accepts NULL. */
void worker_pool_free(struct worker_pool *pool);

/* Queues a job behind those with the same key and returns immediately. `name` (an image) may be
 * NULL. Once worker_pool_stop was called, the job is freed and never runs. */
void worker_pool_submit(struct worker_pool *pool, const char *key, const char *name,
			const struct job_ops *ops, void *opaque);

/* Starts the jobs that could not be started because the system had no thread for them. */
void worker_pool_start_waiting(struct worker_pool *pool);

/* Cancels the jobs that have a name and whose name or key is `id`. A job that is still waiting runs
 * nevertheless, to report its end. Returns how many were cancelled. */
unsigned worker_pool_cancel(struct worker_pool *pool, const char *id);

/* Adds an object to an array for each job that can be described, with its key as "instance" and its
 * name as "image": to `running`, and to `waiting` the first WORKER_POOL_DESCRIBED of those that
 * wait for a thread or for a job with the same key. Returns how many wait. */
#define WORKER_POOL_DESCRIBED 100
unsigned worker_pool_describe(struct worker_pool *pool, cJSON *running, cJSON *waiting);

/*
 * Starts no more jobs and frees the waiting ones. Gives the running jobs `grace_s` seconds to end,
 * then sets their abort flags and waits another `abort_s` seconds. Returns how many jobs are still
 * running: their threads use the pool, which must not be freed then.
 */
unsigned worker_pool_stop(struct worker_pool *pool, unsigned grace_s, unsigned abort_s);
/* The first part of worker_pool_stop: returns when all jobs have ended or the grace time is over.
 * Returns how many jobs are still running. */
unsigned worker_pool_drain(struct worker_pool *pool, unsigned grace_s);
/* Ends the grace time, and starts no more jobs. Any thread, before or while worker_pool_stop or
 * worker_pool_drain runs. */
void worker_pool_skip_grace(struct worker_pool *pool);

/* Not zero once the job must end: it was cancelled, or the grace time is over. Never cleared. */
const atomic_int *job_abort_flag(const struct job *job);
/* Whether the job was cancelled. */
bool job_is_cancelled(const struct job *job);
/* Whether worker_pool_stop was called: the job may continue within the grace time. */
bool job_is_stopping(struct job *job);
/* Whether the grace time of worker_pool_stop is over. */
bool job_is_out_of_time(const struct job *job);

/* Waits for that many milliseconds. Returns false as soon as the job is cancelled or the pool
 * stops. */
bool job_wait(struct job *job, unsigned ms);
/* As job_wait, but not ended by a cancellation. Returns false as soon as the pool stops. */
bool job_wait_despite_cancel(struct job *job, unsigned ms);

/* From now on the job cannot be cancelled, because its purpose is achieved. Returns false if it was
 * cancelled before. */
bool job_refuse_cancel(struct job *job);

/* From now on jobs with the same key may run beside it: the job uses the instance's guest no more.
 * Its own thread only; may be called again. */
void job_release_key(struct job *job);
/* Whether job_release_key was not called. Its own thread only. */
bool job_holds_key(const struct job *job);

/* Waits for a slot. Returns false if the abort flag was set meanwhile, or once the pool stops: then
 * nothing new is begun. The slot is released when
 * the job ends, or earlier by job_release_slot. */
bool job_acquire_slot(struct job *job);
void job_release_slot(struct job *job);

#endif
