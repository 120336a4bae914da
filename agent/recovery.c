/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal's open jobs at the start, and later the leftovers of jobs that have ended. Each may
 * be interrupted anywhere: it is taken up again.
 */
#include "agent/recovery.h"

#include <time.h>

#include "agent/fault.h"

#define RUNS_MAX 3
#define UNDO_TRIES 5
#define ASK_TRIES 5
#define UNDO_PAUSE_MS 2000
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

bool recovery_knows(const struct journal_job *left, const char *fact)
{
	for (guint i = 0; i < left->steps->len; i++) {
		const struct journal_step *step = left->steps->pdata[i];

		if (!step->cleared && *step->undo == '\0' && g_str_equal(step->name, fact))
			return true;
	}
	return false;
}

static int undo_step(struct manager *manager, const struct journal_job *left,
		     const struct journal_step *step, GError **error)
{
	if (fault_at("undo", "before") ||
	    virt_guest_undo(manager->host, left->instance, step->name, step->undo, error) < 0) {
		if (error && !*error)
			g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FAILED,
					    "a fault was put in before undo");
		return -1;
	}
	(void)fault_at("undo", "after");
	return journal_clear(manager->journal, left->id, step->name, error);
}

/* The last step first. What one needs is there while those after it are taken back. */
static int undo_steps(struct manager *manager, const struct journal_job *left, GError **error)
{
	for (guint i = left->steps->len; i > 0; i--) {
		struct journal_step *step = left->steps->pdata[i - 1];

		if (step->cleared || *step->undo == '\0')
			continue;
		if (undo_step(manager, left, step, error) < 0)
			return -1;
		step->cleared = true;
	}
	return 0;
}

static int undo_all(struct manager *manager, struct job *job, const struct journal_job *left,
		    GError **error)
{
	for (unsigned attempt = 1;; attempt++) {
		g_autoptr(GError) local = NULL;

		if (undo_steps(manager, left, &local) == 0)
			return 0;
		if (attempt == UNDO_TRIES || !job_wait(job, UNDO_PAUSE_MS)) {
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
		g_info("instance %s: %s; tried again", left->instance, local->message);
	}
}

/* --- jobs that are open -----------------------------------------------------------------------
 */

static int fail_state(GError **error, int code, const char *words, const char *state)
{
	g_set_error(error, RPC_ERROR, code, "novasnapd died while it served this, and %s%s%s",
		    words, state ? " " : "", state ? state : "");
	return -1;
}

/* After a host's start the conductor may come later than we. */
static int refresh(struct task *task, GError **error)
{
	for (unsigned attempt = 1;; attempt++) {
		g_autoptr(GError) local = NULL;

		if (nova_conductor_instance_refresh(task->manager->rpc, task->context,
						    task->instance, &local) == 0)
			return 0;
		if (!rpc_error_is_lost(local) || attempt == ASK_TRIES ||
		    !job_wait(task->job, UNDO_PAUSE_MS)) {
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
	}
}

/* What the instance has come to meanwhile. 1: it waits for us; 0: it does not any more. */
static int judge_instance(struct task *task, GError **error)
{
	const struct config *config = task->manager->config;
	g_auto(GStrv) states = NULL;
	const char *host, *state;

	if (!config->control || nova_instance_is_plain(task->instance))
		return 1;
	if (refresh(task, error) < 0)
		return -1;
	host = nova_instance_string(task->instance, "host");
	state = nova_instance_string(task->instance, "task_state");
	if (g_strcmp0(host, config->rpc.host) != 0) {
		task->away = true;
		return fail_state(
			error, RPC_ERROR_UNEXPECTED_TASK_STATE,
			"the instance is on another host by now:", host ? host : "(none)");
	}
	if (!state)
		return 0;
	states = g_strsplit(task->method->states, ",", -1);
	if (g_strv_contains((const char *const *)states, state))
		return 1;
	if (g_str_equal(state, "deleting") || g_str_equal(state, "soft-deleting"))
		return fail_state(error, RPC_ERROR_UNEXPECTED_DELETING_TASK_STATE,
				  "the instance is being deleted", NULL);
	task->away = true;
	return fail_state(error, RPC_ERROR_UNEXPECTED_TASK_STATE,
			  "the instance is in another task state by now:", state);
}

/* 1: it waits for data, or it is whole; else an error. */
static int judge_image(struct task *task, GError **error)
{
	struct manager *manager = task->manager;
	gint64 until = g_get_monotonic_time() +
		       (gint64)manager->config->image.saving_timeout_s * G_USEC_PER_SEC;

	for (;;) {
		g_autoptr(image_record_t) record = NULL;
		g_autoptr(GError) local = NULL;

		if (image_store_get(manager->store, &task->identity, task->image_id, &record,
				    &local) < 0) {
			if (manager->config->image.directory &&
			    g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND))
				return 1;
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
		if (g_strcmp0(record->status, "queued") == 0 ||
		    (task->whole && g_strcmp0(record->status, "active") == 0))
			return 1;
		/* Glance has not seen yet that nobody sends any more. */
		if (g_strcmp0(record->status, "saving") != 0 || g_get_monotonic_time() > until ||
		    !job_wait(task->job, UNDO_PAUSE_MS)) {
			g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
				    "novasnapd died while it served this, and image %s is %s by "
				    "now: nobody knows whether it is whole",
				    task->image_id, record->status);
			return -1;
		}
	}
}

static int decide(struct task *task, GError **error)
{
	struct manager *manager = task->manager;
	int rc;

	if (task->left->reason && !task->whole) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "%s", task->left->reason);
		return -1;
	}
	if (task->left->runs >= RUNS_MAX && !task->whole) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
			    "novasnapd died %u times while it served this: it is not tried again",
			    task->left->runs);
		return -1;
	}
	task->step = "looking at the instance again";
	rc = judge_instance(task, error);
	if (rc < 0)
		return -1;
	if (task->method->flags & TASK_IMAGE) {
		task->step = "looking at the image again";
		rc = judge_image(task, error);
	}
	if (rc == 1 && journal_run(manager->journal, task->journal_job, error) < 0)
		return -1;
	return rc;
}

int recovery_begin(struct task *task, GError **error)
{
	int rc;

	task->late = true;
	task->whole = recovery_knows(task->left, RECOVERY_WHOLE);
	task->sent = recovery_knows(task->left, RECOVERY_SENT);
	task->step = "taking back what an earlier life had done";
	g_message("instance %s: novasnapd ended while it served %s%s%s: it is taken up again",
		  task->left->instance, task->left->method, task->image_id ? " into image " : "",
		  task->image_id ? task->image_id : "");
	if (undo_all(task->manager, task->job, task->left, error) < 0)
		return -1;
	rc = decide(task, error);
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

	if (undo_all(manager, job, leftover->left, &error) == 0)
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
	static const struct job_ops ops = {leftover_run, leftover_free};
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
