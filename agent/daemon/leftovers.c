/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See leftovers.h.
 */
#include "agent/daemon/leftovers.h"

#include <pthread.h>

#include "agent/daemon/dispatch.h"
#include "agent/daemon/task-run.h"
#include "agent/recovery/location.h"
#include "agent/recovery/moved.h"
#include "agent/recovery/rollback.h"
#include "agent/task/location-step.h"
#include "agent/task/thread.h"
#include "agent/task/volume-result.h"

#define INTERVAL_S 5
/* The longest pauses between two tries of a job. */
#define GUEST_PAUSE_MAX_S 60
#define FILE_PAUSE_MAX_S 600

/* A job that is tried again. */
struct retry {
	unsigned pause_s; /* after its last try */
	gint64 at;	  /* monotonic us of the next try */
};

struct leftovers {
	struct agent *agent;
	pthread_t thread;
	bool joined; /* used only by its owner */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	bool stopping;
	bool ended;	     /* the thread returns now */
	unsigned jobs;	     /* number of submitted jobs that have not ended */
	GHashTable *retries; /* number of a job in the journal -> struct retry */
};

/* A job that rolls back the leftover steps of an ended job. */
struct leftover {
	struct leftovers *all;
	struct journal_job *left;
};

/* Whether a guest may have to wait for the rollback. An unused file or snapshot does not harm it.
 */
static bool concerns_guest(const struct journal_job *left)
{
	for (guint i = 0; i < left->steps->len; i++) {
		const struct journal_step *step = left->steps->pdata[i];

		if (!step->cleared && !g_str_equal(step->name, "folder") &&
		    !g_str_equal(step->name, "internal") && !g_str_equal(step->name, LOCATION_STEP))
			return true;
	}
	return false;
}

/* Returns the pause before the next try, in seconds. */
static unsigned schedule_retry(struct leftovers *all, const struct journal_job *left)
{
	unsigned most = concerns_guest(left) ? GUEST_PAUSE_MAX_S : FILE_PAUSE_MAX_S;
	struct retry *retry;
	unsigned pause_s;

	pthread_mutex_lock(&all->lock);
	retry = g_hash_table_lookup(all->retries, &left->id);
	if (!retry) {
		retry = g_new0(struct retry, 1);
		(void)g_hash_table_insert(all->retries, g_memdup2(&left->id, sizeof(left->id)),
					  retry);
	}
	retry->pause_s = retry->pause_s > 0 ? MIN(retry->pause_s * 2, most) : INTERVAL_S;
	retry->at = g_get_monotonic_time() + (gint64)retry->pause_s * G_USEC_PER_SEC;
	pause_s = retry->pause_s;
	pthread_mutex_unlock(&all->lock);
	return pause_s;
}

static bool is_retry_due(struct leftovers *all, int64_t job)
{
	const struct retry *retry;
	bool is_due;

	pthread_mutex_lock(&all->lock);
	retry = g_hash_table_lookup(all->retries, &job);
	/* It is searched for at fixed intervals, so half of one may be missing. */
	is_due = !retry || g_get_monotonic_time() + INTERVAL_S * G_USEC_PER_SEC / 2 >= retry->at;
	pthread_mutex_unlock(&all->lock);
	return is_due;
}

static void forget_retry(struct leftovers *all, int64_t job)
{
	pthread_mutex_lock(&all->lock);
	(void)g_hash_table_remove(all->retries, &job);
	pthread_mutex_unlock(&all->lock);
}

/* A task of the ended job, for questions to conductor and store. */
static struct task *leftover_task_new(struct job *job, struct leftover *leftover, GError **error)
{
	struct task *task = task_from_journal(leftover->all->agent,
					      dispatch_find_method(leftover->left->method),
					      leftover->left, error);

	if (!task)
		return NULL;
	task->job = job;
	task->recovered_job = leftover->left;
	return task;
}

static void leftover_task_free(struct task *task)
{
	task->recovered_job = NULL;
	task_free(task);
}

/* The job has ended, so nothing has kept the guest from being evacuated or migrated since: drops
 * the steps that would bring it back if it is not here any more. */
static int drop_if_moved(struct job *job, struct leftover *leftover, GError **error)
{
	struct task *task;
	int rc;

	if (!recovery_brings_guest_back(leftover->left))
		return 0;
	task = leftover_task_new(job, leftover, error);
	if (!task)
		return -1;
	rc = recovery_drop_if_moved(task, true, error);
	leftover_task_free(task);
	return rc;
}

static bool has_location_to_settle(const struct journal_job *left)
{
	for (guint i = 0; i < left->steps->len; i++) {
		if (recovery_location_needs_store(left, left->steps->pdata[i]))
			return true;
	}
	return false;
}

static int settle_locations(struct job *job, struct leftover *leftover, GError **error)
{
	struct task *task;
	int rc;

	if (!has_location_to_settle(leftover->left))
		return 0;
	task = leftover_task_new(job, leftover, error);
	if (!task)
		return -1;
	rc = recovery_location_settle(task, leftover->left, error);
	leftover_task_free(task);
	return rc;
}

static void leftover_run(struct job *job, void *opaque)
{
	struct leftover *leftover = opaque;
	struct agent *agent = leftover->all->agent;
	g_autoptr(GError) error = NULL;

	/* The guest does not wait for Cinder. */
	if (drop_if_moved(job, leftover, &error) == 0)
		(void)recovery_rollback(agent, job, leftover->left, 1, &error);
	(void)settle_locations(job, leftover, error ? NULL : &error);
	(void)volume_result_resend(agent, leftover->left, error ? NULL : &error);
	if (journal_job_count_open_steps(leftover->left) == 0) {
		forget_retry(leftover->all, leftover->left->id);
		g_message("instance %s: no step of an ended job is left over",
			  leftover->left->instance);
		return;
	}
	g_warning("instance %s: %s; retrying in %u s", leftover->left->instance,
		  error ? error->message : "some steps are still open",
		  schedule_retry(leftover->all, leftover->left));
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
		struct journal_job *left = g_ptr_array_steal_index(jobs, 0);
		struct leftover *leftover;

		if (!is_retry_due(all, left->id)) {
			journal_job_free(left);
			continue;
		}
		leftover = g_new0(struct leftover, 1);
		leftover->all = all;
		leftover->left = left;
		pthread_mutex_lock(&all->lock);
		all->jobs++;
		pthread_mutex_unlock(&all->lock);
		worker_pool_submit(all->agent->pool, leftover->left->instance, NULL, &ops,
				   leftover);
	}
}

static void prune_journal(const struct agent *agent)
{
	g_autoptr(GError) error = NULL;

	if (journal_prune(agent->journal, agent->config->journal_days, &error) < 0)
		g_info("%s", error->message);
}

static void *leftovers_main(void *opaque)
{
	struct leftovers *all = opaque;

	/* Here, since a libvirt that hangs must not keep novasnapd from starting. */
	virt_host_sweep(all->agent->host);
	pthread_mutex_lock(&all->lock);
	while (!all->stopping) {
		bool is_idle = all->jobs == 0;
		struct timespec next;
		int rc = 0;

		pthread_mutex_unlock(&all->lock);
		worker_pool_start_waiting(all->agent->pool);
		if (is_idle) {
			submit_leftovers(all);
			prune_journal(all->agent);
		}
		pthread_mutex_lock(&all->lock);
		next = thread_deadline(INTERVAL_S * 1000);
		while (!all->stopping && rc == 0)
			rc = pthread_cond_clockwait(&all->changed, &all->lock, CLOCK_MONOTONIC,
						    &next);
	}
	all->ended = true;
	pthread_cond_broadcast(&all->changed);
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

static void free_leftovers(struct leftovers *all)
{
	g_hash_table_unref(all->retries);
	pthread_cond_destroy(&all->changed);
	pthread_mutex_destroy(&all->lock);
	g_free(all);
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
	all->retries = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
	rc = thread_start(&all->thread, THREAD_STACK_SIZE, leftovers_main, all);
	if (rc == 0)
		return all;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
		    "cannot start the thread that searches for leftovers: %s", g_strerror(rc));
	free_leftovers(all);
	return NULL;
}

bool leftovers_stop(struct leftovers *all, unsigned limit_s)
{
	if (!all || all->joined)
		return true;
	pthread_mutex_lock(&all->lock);
	all->stopping = true;
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
	if (!thread_join_within(all->thread, &all->lock, &all->changed, &all->ended, limit_s))
		return false;
	all->joined = true;
	return true;
}

void leftovers_free(struct leftovers *all)
{
	if (all)
		free_leftovers(all);
}
