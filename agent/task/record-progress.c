/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See record-progress.h.
 */
#include "agent/task/record-progress.h"

#include "agent/task/facts.h"
#include "agent/task/fault-point.h"
#include "agent/task/log-context.h"
#include "agent/task/thread.h"

#define LOOK_MS 1000
#define INTERVAL_US (5 * G_USEC_PER_SEC)
#define STEP_PERCENT 5
/* The end of the job waits for a save as long at most. */
#define SAVE_TIMEOUT_S 5

struct record_progress {
	struct task *task;
	cJSON *object; /* the instance, as it was at the start */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stopping; /* guarded by the lock */

	/* Used only by the thread. */
	int saved; /* percent */
	gint64 saved_at;
	bool has_failed; /* the last save */
};

static int current_percent(struct task *task)
{
	uint64_t total = atomic_load(&task->total), stored = atomic_load(&task->stored);

	return total > 0 && stored <= total ? (int)((double)stored * 100 / (double)total) : 0;
}

/* A later process must know that there is something to clear. */
static int journal_progress(struct task *task, GError **error)
{
	if (atomic_load(&task->has_progress))
		return 0;
	if (task->journal_job > 0 && !record_progress_was_saved(task) &&
	    journal_step_add(task->agent->journal, task->journal_job, FACT_PROGRESS, "", error) < 0)
		return -1;
	atomic_store(&task->has_progress, true);
	return 0;
}

static void save_percent(struct record_progress *progress, int percent)
{
	struct task *task = progress->task;
	g_autoptr(GError) error = NULL;
	bool is_saved =
		journal_progress(task, &error) == 0 && !fault_at("progress", "before") &&
		nova_conductor_progress_save(task->agent->rpc, task->context, progress->object,
					     percent, SAVE_TIMEOUT_S, &error) == 0;

	(void)fault_at("progress", "after");
	progress->saved_at = g_get_monotonic_time();
	if (is_saved)
		progress->saved = percent;
	if (error)
		g_log(G_LOG_DOMAIN, progress->has_failed ? G_LOG_LEVEL_INFO : G_LOG_LEVEL_MESSAGE,
		      "instance %s: its progress of %d %% is not shown: %s",
		      nova_instance_uuid(task->instance), percent, error->message);
	progress->has_failed = !is_saved;
}

static void *progress_main(void *opaque)
{
	struct record_progress *progress = opaque;

	log_context_set(progress->task);
	pthread_mutex_lock(&progress->lock);
	while (!progress->stopping) {
		struct timespec deadline = thread_deadline(LOOK_MS);
		int percent = current_percent(progress->task);

		if (ABS(percent - progress->saved) >= STEP_PERCENT &&
		    g_get_monotonic_time() - progress->saved_at >= INTERVAL_US) {
			pthread_mutex_unlock(&progress->lock);
			save_percent(progress, percent);
			pthread_mutex_lock(&progress->lock);
			continue;
		}
		(void)pthread_cond_clockwait(&progress->changed, &progress->lock, CLOCK_MONOTONIC,
					     &deadline);
	}
	pthread_mutex_unlock(&progress->lock);
	return NULL;
}

static void free_progress(struct record_progress *progress)
{
	cJSON_Delete(progress->object);
	pthread_cond_destroy(&progress->changed);
	pthread_mutex_destroy(&progress->lock);
	g_free(progress);
}

struct record_progress *record_progress_start(struct task *task)
{
	const struct config *config = task->agent->config;
	struct record_progress *progress;
	int rc;

	if (!config->report_progress || !config->control || !task->agent->rpc ||
	    nova_instance_is_plain(task->instance))
		return NULL;
	progress = g_new0(struct record_progress, 1);
	progress->task = task;
	progress->object = nova_instance_object(task->instance);
	pthread_mutex_init(&progress->lock, NULL);
	pthread_cond_init(&progress->changed, NULL);
	rc = thread_start(&progress->thread, THREAD_STACK_SIZE, progress_main, progress);
	if (rc == 0)
		return progress;
	g_warning("instance %s: its progress is not shown: cannot start a thread: %s",
		  nova_instance_uuid(task->instance), g_strerror(rc));
	free_progress(progress);
	return NULL;
}

void record_progress_stop(struct record_progress *progress)
{
	if (!progress)
		return;
	pthread_mutex_lock(&progress->lock);
	progress->stopping = true;
	pthread_cond_broadcast(&progress->changed);
	pthread_mutex_unlock(&progress->lock);
	pthread_join(progress->thread, NULL);
	free_progress(progress);
}

bool record_progress_was_saved(const struct task *task)
{
	return atomic_load(&task->has_progress) ||
	       (task->recovered_job && fact_is_known(task->recovered_job, FACT_PROGRESS));
}

int record_progress_clear(struct task *task, GError **error)
{
	cJSON *object = nova_instance_object(task->instance);
	int rc = nova_conductor_progress_save(task->agent->rpc, task->context, object, 0, 0, error);

	cJSON_Delete(object);
	return rc;
}
