/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See leftovers.h.
 */
#include "agent/daemon/leftovers.h"

#include <pthread.h>

#include "agent/daemon/dispatch.h"
#include "agent/daemon/task-run.h"
#include "agent/recovery/moved.h"
#include "agent/recovery/rollback.h"
#include "agent/task/thread.h"

#define INTERVAL_S 5

struct leftovers {
	struct agent *agent;
	pthread_t thread;
	bool joined; /* used only by its owner */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	bool stopping;
	unsigned jobs; /* number of submitted jobs that have not ended */
};

/* A job that rolls back the leftover steps of an ended job. */
struct leftover {
	struct leftovers *all;
	struct journal_job *left;
};

/* The job has ended, so nothing has kept the guest from being evacuated or migrated since: drops
 * the steps that would bring it back if it is not here any more. */
static int drop_if_moved(struct job *job, struct leftover *leftover, GError **error)
{
	struct agent *agent = leftover->all->agent;
	struct task *task;
	int rc;

	if (!recovery_brings_guest_back(leftover->left))
		return 0;
	task = task_from_journal(agent, dispatch_find_method(leftover->left->method),
				 leftover->left, error);
	if (!task)
		return -1;
	task->job = job;
	task->recovered_job = leftover->left;
	rc = recovery_drop_if_moved(task, true, error);
	task->recovered_job = NULL;
	task_free(task);
	return rc;
}

static void leftover_run(struct job *job, void *opaque)
{
	struct leftover *leftover = opaque;
	struct agent *agent = leftover->all->agent;
	g_autoptr(GError) error = NULL;

	if (drop_if_moved(job, leftover, &error) == 0 &&
	    recovery_rollback(agent, job, leftover->left, 1, &error) == 0)
		g_message("instance %s: rolled back the leftover steps of an ended job",
			  leftover->left->instance);
	else
		g_warning("instance %s: %s; retrying in %d s", leftover->left->instance,
			  error->message, INTERVAL_S);
}

static void leftover_free(void *opaque)
{
	struct leftover *leftover = opaque;
	struct leftovers *all = leftover->all;

	journal_job_free(leftover->left);
	g_free(leftover);
	pthread_mutex_lock(&all->lock);
	all->jobs--;
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
}

static void submit_leftovers(struct leftovers *all)
{
	static const struct job_ops ops = {.run = leftover_run, .free = leftover_free};
	g_autoptr(GError) error = NULL;
	g_autoptr(GPtrArray) jobs = journal_list(all->agent->journal, JOURNAL_LEFTOVERS, 0, &error);

	if (!jobs)
		g_warning("%s", error->message);
	while (jobs && jobs->len > 0) {
		struct leftover *leftover = g_new0(struct leftover, 1);

		leftover->all = all;
		leftover->left = g_ptr_array_steal_index(jobs, 0);
		pthread_mutex_lock(&all->lock);
		all->jobs++;
		pthread_mutex_unlock(&all->lock);
		worker_pool_submit(all->agent->pool, leftover->left->instance, NULL, &ops,
				   leftover);
	}
}

static void *leftovers_main(void *opaque)
{
	struct leftovers *all = opaque;

	pthread_mutex_lock(&all->lock);
	while (!all->stopping) {
		struct timespec next;
		int rc = 0;

		if (all->jobs == 0) {
			pthread_mutex_unlock(&all->lock);
			submit_leftovers(all);
			pthread_mutex_lock(&all->lock);
		}
		next = thread_deadline(INTERVAL_S * 1000);
		while (!all->stopping && rc == 0)
			rc = pthread_cond_clockwait(&all->changed, &all->lock, CLOCK_MONOTONIC,
						    &next);
	}
	pthread_mutex_unlock(&all->lock);
	return NULL;
}

static int resume_open_jobs(struct agent *agent, GError **error)
{
	g_autoptr(GPtrArray) open = journal_list(agent->journal, JOURNAL_OPEN, 0, error);

	if (!open)
		return -1;
	while (open->len > 0) {
		struct journal_job *left = g_ptr_array_steal_index(open, 0);

		task_resume(agent, dispatch_find_method(left->method), left);
	}
	return 0;
}

struct leftovers *leftovers_start(struct agent *agent, GError **error)
{
	struct leftovers *all;
	int rc;

	if (resume_open_jobs(agent, error) < 0)
		return NULL;
	all = g_new0(struct leftovers, 1);
	all->agent = agent;
	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->changed, NULL);
	rc = thread_start(&all->thread, THREAD_STACK_SIZE, leftovers_main, all);
	if (rc == 0)
		return all;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
		    "cannot start the thread that searches for leftovers: %s", g_strerror(rc));
	pthread_cond_destroy(&all->changed);
	pthread_mutex_destroy(&all->lock);
	g_free(all);
	return NULL;
}

void leftovers_stop(struct leftovers *all)
{
	if (!all || all->joined)
		return;
	pthread_mutex_lock(&all->lock);
	all->stopping = true;
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
	pthread_join(all->thread, NULL);
	all->joined = true;
}

void leftovers_free(struct leftovers *all)
{
	if (!all)
		return;
	leftovers_stop(all);
	pthread_cond_destroy(&all->changed);
	pthread_mutex_destroy(&all->lock);
	g_free(all);
}
