/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal's open jobs at the start, and later the leftovers of jobs that have ended. Each may
 * be interrupted anywhere: it is taken up again.
 */
#include "agent/recovery/recovery.h"

#include <time.h>

#define UNDO_TRIES 5
#define LEFTOVERS_S 5
#define STACK_SIZE ((size_t)512 * 1024)

struct recovery {
	struct manager *manager;
	pthread_t thread;
	bool stopped; /* its owner's */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	bool stopping;
	unsigned under_way; /* leftovers that are jobs */
};

/* --- jobs that are open -----------------------------------------------------------------------
 */

int recovery_begin(struct task *task, GError **error)
{
	g_autoptr(GError) undone = NULL;
	int rc;

	task->late = true;
	task->sent = recovery_knows(task->left, RECOVERY_SENT);
	task->keep_image = recovery_knows(task->left, RECOVERY_KEEP);
	g_message("instance %s: novasnapd ended while it served %s%s%s: it is taken up again",
		  task->left->instance, task->left->method, task->image_id ? " into image " : "",
		  task->image_id ? task->image_id : "");
	if (recovery_leave_to_others(task, error) < 0)
		return -1;
	task->step = "taking back what an earlier life had done";
	(void)recovery_undo(task->manager, task->job, task->left, UNDO_TRIES, &undone);
	rc = recovery_decide(task, undone, error);
	/* It is said once more from the start. */
	if (rc == 1 && !task->whole)
		task->sent = false;
	return rc;
}

/* --- leftovers of jobs that have ended --------------------------------------------------------
 */

struct leftover {
	struct recovery *recovery;
	struct journal_job *left;
};

static void leftover_run(struct job *job, void *opaque)
{
	struct leftover *leftover = opaque;
	struct manager *manager = leftover->recovery->manager;
	g_autoptr(GError) error = NULL;

	recovery_leave_after_boot(manager, leftover->left);
	if (recovery_undo(manager, job, leftover->left, 1, &error) == 0)
		g_message("instance %s: what a snapshot had left is taken back",
			  leftover->left->instance);
	else
		g_warning("instance %s: %s; tried again in %d s", leftover->left->instance,
			  error->message, LEFTOVERS_S);
}

static void leftover_free(void *opaque)
{
	struct leftover *leftover = opaque;
	struct recovery *recovery = leftover->recovery;

	journal_job_free(leftover->left);
	pthread_mutex_lock(&recovery->lock);
	recovery->under_way--;
	pthread_cond_broadcast(&recovery->changed);
	pthread_mutex_unlock(&recovery->lock);
	g_free(leftover);
}

static void submit_leftovers(struct recovery *recovery)
{
	static const struct job_ops ops = {.run = leftover_run, .free = leftover_free};
	struct manager *manager = recovery->manager;
	g_autoptr(GError) error = NULL;
	g_autoptr(GPtrArray) jobs = journal_list(manager->journal, JOURNAL_LEFTOVERS, 0, &error);

	if (!jobs)
		g_warning("%s", error->message);
	while (jobs && jobs->len > 0) {
		struct leftover *leftover = g_new0(struct leftover, 1);

		leftover->recovery = recovery;
		leftover->left = g_ptr_array_steal_index(jobs, 0);
		pthread_mutex_lock(&recovery->lock);
		recovery->under_way++;
		pthread_mutex_unlock(&recovery->lock);
		jobs_submit(manager->jobs, leftover->left->instance, NULL, &ops, leftover);
	}
}

static void *recovery_main(void *opaque)
{
	struct recovery *recovery = opaque;

	pthread_mutex_lock(&recovery->lock);
	while (!recovery->stopping) {
		struct timespec until;
		int rc = 0;

		if (recovery->under_way == 0) {
			pthread_mutex_unlock(&recovery->lock);
			submit_leftovers(recovery);
			pthread_mutex_lock(&recovery->lock);
		}
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += LEFTOVERS_S;
		while (!recovery->stopping && rc == 0)
			rc = pthread_cond_clockwait(&recovery->changed, &recovery->lock,
						    CLOCK_MONOTONIC, &until);
	}
	pthread_mutex_unlock(&recovery->lock);
	return NULL;
}

/* --- both -------------------------------------------------------------------------------------
 */

static void resume_open(struct manager *manager, GPtrArray *jobs)
{
	while (jobs->len > 0)
		task_resume(manager, g_ptr_array_steal_index(jobs, 0));
}

struct recovery *recovery_start(struct manager *manager, GError **error)
{
	g_autoptr(GPtrArray) open = journal_list(manager->journal, JOURNAL_OPEN, 0, error);
	struct recovery *recovery;
	pthread_attr_t attributes;
	int rc;

	if (!open)
		return NULL;
	recovery = g_new0(struct recovery, 1);
	recovery->manager = manager;
	pthread_mutex_init(&recovery->lock, NULL);
	pthread_cond_init(&recovery->changed, NULL);
	resume_open(manager, open);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	rc = pthread_create(&recovery->thread, &attributes, recovery_main, recovery);
	pthread_attr_destroy(&attributes);
	if (rc == 0)
		return recovery;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "cannot start recovery's thread: %s",
		    g_strerror(rc));
	pthread_cond_destroy(&recovery->changed);
	pthread_mutex_destroy(&recovery->lock);
	g_free(recovery);
	return NULL;
}

void recovery_stop(struct recovery *recovery)
{
	if (!recovery || recovery->stopped)
		return;
	pthread_mutex_lock(&recovery->lock);
	recovery->stopping = true;
	pthread_cond_broadcast(&recovery->changed);
	pthread_mutex_unlock(&recovery->lock);
	pthread_join(recovery->thread, NULL);
	recovery->stopped = true;
}

void recovery_free(struct recovery *recovery)
{
	if (!recovery)
		return;
	recovery_stop(recovery);
	pthread_cond_destroy(&recovery->changed);
	pthread_mutex_destroy(&recovery->lock);
	g_free(recovery);
}
