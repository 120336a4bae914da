/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See release.h.
 */
#include "agent/task/release.h"

#include <pthread.h>

#include "agent/task/thread.h"

/* Pauses after an answer, and after a call without one. */
#define REFRESH_S 300
#define RETRY_S 10
/* How often a task that waits for the first answer looks whether it may go on. */
#define WAIT_MS 100

struct release_watch {
	const struct config *config;
	struct rpc *rpc;
	void (*on_known)(const struct nova_release *release, void *opaque);
	void *opaque;
	pthread_t thread;
	struct rpc_context *context; /* used only by the thread */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	bool stopping;
	bool is_asked; /* the first call has ended */
	int record;    /* 0: not known */
};

static void log_record(int record, bool is_first)
{
	g_autofree char *text = nova_release_describe_record(record);

	g_message("nova's release is %s%s, by version %d in the record of its nova-compute",
		  is_first ? "" : "now ", text, record);
}

/* Keeps an earlier answer if there is none now. Returns the pause until the next query. */
static unsigned ask(struct release_watch *watch)
{
	g_autoptr(GError) error = NULL;
	int record = 0;
	int rc = nova_conductor_service_version(watch->rpc, watch->context, watch->config->rpc.host,
						&record, &error);
	bool was_asked;
	int before;

	pthread_mutex_lock(&watch->lock);
	was_asked = watch->is_asked;
	before = watch->record;
	if (rc == 0)
		watch->record = record;
	pthread_mutex_unlock(&watch->lock);
	if (rc == 0 && record != before) {
		log_record(record, before == 0);
		if (watch->on_known)
			watch->on_known(nova_release_of_record(record, NULL), watch->opaque);
	} else if (rc < 0 && !was_asked) {
		g_message("nova's release is not known, and is taken from each request: %s",
			  error->message);
	}
	pthread_mutex_lock(&watch->lock);
	watch->is_asked = true;
	pthread_cond_broadcast(&watch->changed);
	pthread_mutex_unlock(&watch->lock);
	return rc == 0 || !rpc_error_is_unanswered(error) ? REFRESH_S : RETRY_S;
}

static void *watch_main(void *opaque)
{
	struct release_watch *watch = opaque;

	pthread_mutex_lock(&watch->lock);
	while (!watch->stopping) {
		struct timespec next;

		pthread_mutex_unlock(&watch->lock);
		next = thread_deadline(ask(watch) * 1000);
		pthread_mutex_lock(&watch->lock);
		while (!watch->stopping && pthread_cond_clockwait(&watch->changed, &watch->lock,
								  CLOCK_MONOTONIC, &next) == 0)
			;
	}
	pthread_mutex_unlock(&watch->lock);
	return NULL;
}

struct release_watch *release_watch_start(const struct config *config, struct rpc *rpc,
					  void (*on_known)(const struct nova_release *release,
							   void *opaque),
					  void *opaque, GError **error)
{
	struct release_watch *watch = g_new0(struct release_watch, 1);
	int rc;

	watch->config = config;
	watch->rpc = rpc;
	watch->on_known = on_known;
	watch->opaque = opaque;
	watch->context = rpc_context_new(NULL);
	pthread_mutex_init(&watch->lock, NULL);
	pthread_cond_init(&watch->changed, NULL);
	rc = thread_start(&watch->thread, THREAD_STACK_SIZE, watch_main, watch);
	if (rc == 0)
		return watch;
	g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED,
		    "cannot start the thread that asks for nova's release: %s", g_strerror(rc));
	rpc_context_free(watch->context);
	g_free(watch);
	return NULL;
}

void release_watch_stop(struct release_watch *watch)
{
	if (!watch)
		return;
	pthread_mutex_lock(&watch->lock);
	watch->stopping = true;
	pthread_cond_broadcast(&watch->changed);
	pthread_mutex_unlock(&watch->lock);
	pthread_join(watch->thread, NULL);
	rpc_context_free(watch->context);
	pthread_cond_destroy(&watch->changed);
	pthread_mutex_destroy(&watch->lock);
	g_free(watch);
}

int release_watch_record(struct release_watch *watch)
{
	int record;

	if (!watch)
		return 0;
	pthread_mutex_lock(&watch->lock);
	record = watch->record;
	pthread_mutex_unlock(&watch->lock);
	return record;
}

bool release_watch_wait(struct release_watch *watch, unsigned ms)
{
	struct timespec until = thread_deadline(ms);
	bool is_asked;

	pthread_mutex_lock(&watch->lock);
	while (!watch->is_asked && !watch->stopping &&
	       pthread_cond_clockwait(&watch->changed, &watch->lock, CLOCK_MONOTONIC, &until) == 0)
		;
	is_asked = watch->is_asked;
	pthread_mutex_unlock(&watch->lock);
	return is_asked;
}

void release_find(struct task *task)
{
	struct release_watch *watch = task->agent->release_watch;
	int record;

	/* A plain instance is older than all releases that have a record. */
	if (!watch || nova_instance_is_plain(task->instance) || task->has_release)
		return;
	while (!release_watch_wait(watch, WAIT_MS) && !*job_abort_flag(task->job) &&
	       !job_is_stopping(task->job))
		;
	record = release_watch_record(watch);
	if (record > 0)
		task->release = nova_release_of_record(record, task->instance);
	task->has_release = true;
}
