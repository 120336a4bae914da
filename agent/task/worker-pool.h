/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Jobs: each runs in a thread of its own, one at a time per instance, in the order in which they
 * came. A job that takes a snapshot asks for a place first (max_concurrent_snapshots); nothing else
 * waits for one.
 */
#ifndef NOVASNAP_AGENT_JOBS_H
#define NOVASNAP_AGENT_JOBS_H

#include <cjson/cJSON.h>
#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>

struct jobs;
struct job;

struct job_ops {
	/* The job, in its thread. It looks at its cancel flag. */
	void (*run)(struct job *job, void *opaque);
	/* Frees what the job held; called once, also for a job that was never run. */
	void (*free)(void *opaque);
	/* Adds what the job is at, from another thread while it runs. May be NULL. */
	void (*tell)(const void *opaque, cJSON *into);
};

/* `places`: how many snapshots at once, 0 for no limit. */
struct jobs *jobs_new(unsigned places);

/* Queues a job behind those of the same key; `name` may be NULL. Returns at once. After jobs_stop
 * has begun, the job is freed without being run. */
void jobs_submit(struct jobs *jobs, const char *key, const char *name, const struct job_ops *ops,
		 void *opaque);

/* Cancels the jobs that have a name, and that name or key is `id`. Returns how many there were. */
unsigned jobs_cancel(struct jobs *jobs, const char *id);

/* Adds an object for each job that runs and can tell, with its key as the instance and its name as
 * the image. Returns how many wait for a thread, or for
 * one of the same key to end. */
unsigned jobs_tell(struct jobs *jobs, cJSON *into);

/*
 * Starts no more jobs and frees those that wait; gives the running ones `grace_s` to end, then sets
 * their cancel flags and gives them `cancel_s` more. Returns how many still ran then (their threads
 * still use `jobs`, which is then not to be freed).
 */
unsigned jobs_stop(struct jobs *jobs, unsigned grace_s, unsigned cancel_s);
/* From any thread, also a second time while jobs_stop waits: the grace time is over. */
void jobs_hurry(struct jobs *jobs);
void jobs_free(struct jobs *jobs);

/* What a cancel flag may be. */
enum job_cancel {
	JOB_GOES_ON,
	JOB_STOPPING,  /* all jobs are to end */
	JOB_CANCELLED, /* somebody asked for it */
};
/* Never cleared again. */
const atomic_int *job_cancel_flag(const struct job *job);
/* Waits for so long. False when the job was cancelled, or all jobs are about to end. */
bool job_wait(struct job *job, unsigned ms);
/* The same, for what is to be done although the job was cancelled. */
bool job_wait_stop(struct job *job, unsigned ms);
/* Whether all jobs are about to end. */
bool job_is_stopping(struct job *job);
/* From now on it cannot be cancelled by its name: what it was for is done. False when it was. */
bool job_settle(struct job *job);
/* Waits for a place. False when the job was cancelled meanwhile. A place is given back when the job
 * ends, or before. */
bool job_take_place(struct job *job);
void job_give_place(struct job *job);

#endif
