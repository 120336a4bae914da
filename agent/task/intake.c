/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See intake.h for the rule.
 */
#include "agent/task/intake.h"

#include <pthread.h>
#include <string.h>

#include "agent/task/fault-point.h"
#include "agent/task/thread.h"

/* The pause between two tries to write the journal. It is doubled for each pause of consuming that
 * follows soon after the last one, because each requeues casts: a quorum queue drops a cast after a
 * number of deliveries. */
#define RETRY_PAUSE_MS 1000
#define RETRY_PAUSE_MAX_MS (60 * 1000)
#define STABLE_US (60 * G_USEC_PER_SEC)
/* The maximum number of requests in one transaction. */
#define BATCH_MAX 256

/* The most room that is reserved before consuming is resumed, in bytes. */
#define RESERVED_MAX ((size_t)64 << 20)

/* A request that is not safe yet. */
struct arrival {
	const struct task_method *method;
	struct rpc_request *request; /* NULL: the task owns it */
	struct task *task;	     /* NULL: not created yet */
	char *message; /* for the journal, freed with cJSON_free; NULL: not journaled */
	bool is_acked; /* before it is journaled */
};

struct intake {
	struct agent *agent;
	const struct intake_ops *ops;
	pthread_t thread;
	bool journals;	     /* the thread was started; set before the first request */
	bool joined;	     /* the thread was started and has ended; used only by the owner */
	atomic_uint waiting; /* requests that were accepted and are not safe yet */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	GQueue queue; /* struct arrival, oldest first */
	bool stopping;
	bool ended; /* the thread returns now */

	/* Used only by the thread. */
	GPtrArray *arrivals; /* struct arrival, oldest first: removed from the queue */
	bool paused;
	size_t wanted_bytes; /* of the casts that could not be written, at most RESERVED_MAX */
	unsigned retry_pause_ms;
	gint64 retry_at;   /* monotonic us */
	gint64 resumed_at; /* monotonic us; 0: never paused */
};

static void free_arrival(void *opaque)
{
	struct arrival *arrival = opaque;

	task_free(arrival->task);
	rpc_request_free(arrival->request);
	cJSON_free(arrival->message);
	g_free(arrival);
}

struct intake *intake_new(struct agent *agent, const struct intake_ops *ops)
{
	struct intake *intake = g_new0(struct intake, 1);

	intake->agent = agent;
	intake->ops = ops;
	pthread_mutex_init(&intake->lock, NULL);
	pthread_cond_init(&intake->changed, NULL);
	g_queue_init(&intake->queue);
	intake->arrivals = g_ptr_array_new_with_free_func(free_arrival);
	return intake;
}

void intake_free(struct intake *intake)
{
	if (!intake)
		return;
	g_queue_clear_full(&intake->queue, free_arrival);
	g_ptr_array_unref(intake->arrivals);
	pthread_cond_destroy(&intake->changed);
	pthread_mutex_destroy(&intake->lock);
	g_free(intake);
}

/* Takes ownership of the request. NULL with an error; with `error` NULL the request was
 * rejected. */
static struct task *make_task(struct intake *intake, const struct task_method *method,
			      struct rpc_request *request, GError **error)
{
	g_autoptr(GError) local = NULL;
	struct task *task = task_new(intake->agent, method, request, &local);

	if (task)
		return task;
	if (!error) {
		rpc_request_reject(request, local->message);
		return NULL;
	}
	rpc_request_free(request);
	g_propagate_error(error, g_steal_pointer(&local));
	return NULL;
}

/* The request is safe: from here on its job frees the task. */
static void submit_task(struct intake *intake, struct task *task)
{
	rpc_request_ack(task->request);
	worker_pool_submit(intake->agent->pool, nova_instance_uuid(task->instance), task->image_id,
			   intake->ops->job, task);
}

static bool is_journaled(const struct arrival *arrival)
{
	return !rpc_request_is_call(arrival->request) ||
	       (arrival->method->flags & METHOD_LEAVES_STEP);
}

/* Creates the tasks of new arrivals, and drops those with invalid arguments. */
static void make_tasks(struct intake *intake)
{
	guint i = 0;

	while (i < intake->arrivals->len) {
		struct arrival *arrival = intake->arrivals->pdata[i];

		if (!arrival->task) {
			/* Before the task is created, because that moves the instance out of the
			 * arguments. */
			if (is_journaled(arrival))
				arrival->message = rpc_request_text(arrival->request);
			arrival->task = make_task(intake, arrival->method, arrival->request, NULL);
			arrival->request = NULL;
		}
		if (arrival->task) {
			i++;
			continue;
		}
		(void)g_ptr_array_remove_index(intake->arrivals, i);
		atomic_fetch_sub(&intake->waiting, 1);
	}
}

/* Without a claim (claim.h) only the broker can say whether nova-compute gets the request as well.
 */
static bool must_be_acked_first(const struct intake *intake, const struct arrival *arrival)
{
	return intake->agent->config->beside && !arrival->method->claim_state;
}

/* Such a request stays undone when the process dies before the journal has it, and when the broker
 * deletes it but its answer does not arrive: its sender has a time limit. Nobody would notice that
 * both have done it. */
static void ack_unclaimed(struct intake *intake)
{
	guint i = 0;

	while (i < intake->arrivals->len) {
		struct arrival *arrival = intake->arrivals->pdata[i++];

		if (arrival->is_acked || !must_be_acked_first(intake, arrival))
			continue;
		arrival->is_acked = rpc_request_ack_surely(arrival->task->request);
		if (arrival->is_acked)
			continue;
		g_warning("instance %s: leaving %s to nova-compute: it is unknown whether the "
			  "broker has deleted the message; if it has, the request is lost, and its "
			  "sender sees a time-out",
			  nova_instance_uuid(arrival->task->instance), arrival->method->name);
		(void)g_ptr_array_remove_index(intake->arrivals, --i);
		atomic_fetch_sub(&intake->waiting, 1);
	}
}

/* The arrivals' records for the journal, in their order. The arrivals own the strings. */
static GArray *list_casts(struct intake *intake)
{
	GArray *casts = g_array_new(FALSE, FALSE, sizeof(struct journal_cast));

	for (guint i = 0; i < intake->arrivals->len; i++) {
		const struct arrival *arrival = intake->arrivals->pdata[i];
		const struct task *task = arrival->task;
		struct journal_cast cast;

		if (!arrival->message)
			continue;
		cast = (struct journal_cast){
			.unique_id = rpc_request_unique_id(task->request),
			.method = task->method->name,
			.instance = nova_instance_uuid(task->instance),
			.image = task->image_id,
			.message = arrival->message,
		};
		g_array_append_val(casts, cast);
	}
	return casts;
}

/* `job`: its number in the journal; 0: a call, or what was acked and cannot be journaled. */
static void submit_arrival(struct intake *intake, struct arrival *arrival, int64_t job)
{
	arrival->task->journal_job = job;
	atomic_fetch_sub(&intake->waiting, 1);
	submit_task(intake, g_steal_pointer(&arrival->task));
}

static void drop_duplicate(struct intake *intake, const struct arrival *arrival)
{
	const struct task *task = arrival->task;

	g_message("instance %s: dropping the cast %s: it is a duplicate",
		  nova_instance_uuid(task->instance), rpc_request_unique_id(task->request));
	atomic_fetch_sub(&intake->waiting, 1);
	rpc_request_ack(task->request);
}

static void submit_all(struct intake *intake, const GArray *casts)
{
	guint written = 0;

	for (guint i = 0; i < intake->arrivals->len; i++) {
		struct arrival *arrival = intake->arrivals->pdata[i];
		int64_t job = 0;

		if (arrival->message)
			job = g_array_index(casts, struct journal_cast, written++).job;
		if (arrival->message && job == 0)
			drop_duplicate(intake, arrival);
		else
			submit_arrival(intake, arrival, job);
	}
	g_ptr_array_set_size(intake->arrivals, 0);
}

/* While the journal cannot be written, calls and what is acked do not wait for it, and casts go
 * back to the broker.
 */
static void requeue_casts(struct intake *intake)
{
	for (guint i = 0; i < intake->arrivals->len; i++) {
		struct arrival *arrival = intake->arrivals->pdata[i];

		if (arrival->is_acked || rpc_request_is_call(arrival->task->request)) {
			submit_arrival(intake, arrival, 0);
			continue;
		}
		intake->wanted_bytes =
			MIN(intake->wanted_bytes + strlen(arrival->message), RESERVED_MAX);
		atomic_fetch_sub(&intake->waiting, 1);
		rpc_request_requeue(arrival->task->request);
	}
	g_ptr_array_set_size(intake->arrivals, 0);
}

static void set_retry(struct intake *intake)
{
	intake->retry_at = g_get_monotonic_time() + (gint64)intake->retry_pause_ms * 1000;
}

static void pause_consuming(struct intake *intake, const GError *why)
{
	bool again =
		intake->resumed_at > 0 && g_get_monotonic_time() - intake->resumed_at < STABLE_US;

	intake->retry_pause_ms =
		again ? MIN(intake->retry_pause_ms * 2, RETRY_PAUSE_MAX_MS) : RETRY_PAUSE_MS;
	intake->wanted_bytes = 0;
	intake->paused = true;
	intake->ops->pause_consuming(why, intake->ops->opaque);
	set_retry(intake);
}

/* Consuming is resumed only when the same casts could be written: each of them may be delivered
 * only a few times. */
static void try_journal(struct intake *intake)
{
	g_autoptr(GError) error = NULL;

	if (journal_reserve(intake->agent->journal, intake->wanted_bytes, &error) < 0) {
		g_info("%s", error->message);
		set_retry(intake);
		return;
	}
	intake->paused = false;
	intake->resumed_at = g_get_monotonic_time();
	intake->ops->resume_consuming(intake->ops->opaque);
}

static void process_arrivals(struct intake *intake)
{
	g_autoptr(GArray) casts = NULL;
	g_autoptr(GError) error = NULL;
	int rc = 0;

	make_tasks(intake);
	if (intake->paused) {
		requeue_casts(intake);
		return;
	}
	ack_unclaimed(intake);
	casts = list_casts(intake);
	(void)fault_at("cast", "before");
	if (casts->len > 0)
		rc = journal_casts_add(intake->agent->journal, (struct journal_cast *)casts->data,
				       casts->len, &error);
	(void)fault_at("cast", "after");
	if (rc == 0) {
		submit_all(intake, casts);
		return;
	}
	/* First, so that the broker does not deliver them here again. */
	pause_consuming(intake, error);
	requeue_casts(intake);
}

/* Moves a batch of requests from the queue to the arrivals. Waits while the queue is empty; while
 * the journal cannot be written, only until it is tried again. Returns false to stop. */
static bool wait_for_arrivals(struct intake *intake)
{
	gint64 pause = MAX(intake->retry_at - g_get_monotonic_time(), 0);
	struct timespec retry_at = thread_deadline((unsigned)(pause / 1000));
	bool stopping;
	int rc = 0;

	pthread_mutex_lock(&intake->lock);
	while (g_queue_is_empty(&intake->queue) && !intake->stopping && rc == 0) {
		if (intake->paused)
			rc = pthread_cond_clockwait(&intake->changed, &intake->lock,
						    CLOCK_MONOTONIC, &retry_at);
		else
			rc = pthread_cond_wait(&intake->changed, &intake->lock);
	}
	stopping = intake->stopping;
	while (!g_queue_is_empty(&intake->queue) && intake->arrivals->len < BATCH_MAX)
		g_ptr_array_add(intake->arrivals, g_queue_pop_head(&intake->queue));
	pthread_mutex_unlock(&intake->lock);
	return !stopping;
}

static void *intake_main(void *opaque)
{
	struct intake *intake = opaque;

	while (wait_for_arrivals(intake)) {
		process_arrivals(intake);
		if (intake->paused && g_get_monotonic_time() >= intake->retry_at)
			try_journal(intake);
	}
	pthread_mutex_lock(&intake->lock);
	intake->ended = true;
	pthread_cond_broadcast(&intake->changed);
	pthread_mutex_unlock(&intake->lock);
	return NULL;
}

int intake_start(struct intake *intake, GError **error)
{
	int rc = thread_start(&intake->thread, THREAD_JOB_STACK_SIZE, intake_main, intake);

	intake->journals = rc == 0;
	if (rc == 0)
		return 0;
	g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED,
		    "cannot start the thread that journals requests: %s", g_strerror(rc));
	return -1;
}

bool intake_stop(struct intake *intake, unsigned limit_s)
{
	if (!intake || !intake->journals || intake->joined)
		return true;
	pthread_mutex_lock(&intake->lock);
	intake->stopping = true;
	pthread_cond_broadcast(&intake->changed);
	pthread_mutex_unlock(&intake->lock);
	if (!thread_join_within(intake->thread, &intake->lock, &intake->changed, &intake->ended,
				limit_s))
		return false;
	intake->joined = true;
	g_ptr_array_set_size(intake->arrivals, 0);
	atomic_store(&intake->waiting, 0);
	return true;
}

/* Returns false if the thread is about to end, or has ended. */
static bool queue_arrival(struct intake *intake, struct arrival *arrival)
{
	bool stopping;

	pthread_mutex_lock(&intake->lock);
	stopping = intake->stopping;
	if (!stopping) {
		atomic_fetch_add(&intake->waiting, 1);
		g_queue_push_tail(&intake->queue, arrival);
		pthread_cond_signal(&intake->changed);
	}
	pthread_mutex_unlock(&intake->lock);
	return !stopping;
}

bool intake_take(struct intake *intake, const struct task_method *method,
		 struct rpc_request *request, GError **error)
{
	struct arrival *arrival;

	if (!intake->journals) {
		struct task *task = make_task(intake, method, request, error);

		if (task)
			submit_task(intake, task);
		return task != NULL;
	}
	arrival = g_new0(struct arrival, 1);
	arrival->method = method;
	arrival->request = request;
	/* Freed without an ack, so that the broker keeps it. */
	if (!queue_arrival(intake, arrival))
		free_arrival(arrival);
	return true;
}

unsigned intake_count_waiting(struct intake *intake)
{
	return atomic_load(&intake->waiting);
}
