/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See beside-watchdog.h.
 */
#include "agent/daemon/beside-watchdog.h"

#include <pthread.h>

#include "agent/beside/handover.h"
#include "agent/daemon/beside-progress.h"
#include "agent/task/thread.h"
#include "rpc/forward.h"

#define TURN_MS 1000
/* A thread that has a turn each second is well. */
#define WELL_US (3 * G_USEC_PER_SEC)
#define ECHO_S 3
/* The pause before the next try to take the requests. It is doubled after each failure. */
#define TAKE_PAUSE_S 5
#define TAKE_PAUSE_MAX_S 60
/* How long the marker of novasnapd or `novasnap beside --enable` may need. */
#define MARKER_S 15
#define RESTORE_PAUSE_US (5 * G_USEC_PER_SEC)

struct beside_watchdog {
	const struct config *config;
	struct rpc *rpc;
	struct beside_mode *mode;
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stopping; /* it gives the requests back, and ends; guarded by the lock */

	/* Used only by the thread. */
	gint64 take_at, give_back_at; /* monotonic us: the next try */
	unsigned take_pause_s;
	gint64 passing_since; /* monotonic us: since when the marker is missing; 0: it is not */
	struct beside_progress progress;
	unsigned restored; /* the connection after which the broker's objects were made again */
	gint64 restore_at; /* monotonic us: the next try */

	char *problem; /* why the requests cannot be taken; NULL: none. Guarded by the lock */
};

static void give_back(struct beside_watchdog *watchdog, const char *reason)
{
	g_autoptr(GError) error = NULL;

	/* Before nova-compute's queue is bound. */
	beside_mode_begin_give_back(watchdog->mode);
	if (beside_give_back(watchdog->config, reason, &error) < 0)
		g_warning("cannot give this host's requests back to nova-compute (%s): %s; each "
			  "one reaches it %d s late; run `novasnap beside --guard`",
			  reason, error->message, RPC_BESIDE_TTL_MS / 1000);
	beside_mode_end_give_back(watchdog->mode);
}

/* Returns whether the problem is another one than before. `error` NULL: there is none. */
static bool set_problem(struct beside_watchdog *watchdog, const GError *error)
{
	bool is_new;

	pthread_mutex_lock(&watchdog->lock);
	is_new = error && g_strcmp0(watchdog->problem, error->message) != 0;
	g_free(watchdog->problem);
	watchdog->problem = error ? g_strdup(error->message) : NULL;
	pthread_mutex_unlock(&watchdog->lock);
	return is_new;
}

char *beside_watchdog_problem(struct beside_watchdog *watchdog)
{
	char *problem;

	pthread_mutex_lock(&watchdog->lock);
	problem = g_strdup(watchdog->problem);
	pthread_mutex_unlock(&watchdog->lock);
	return problem;
}

static void set_take_pause(struct beside_watchdog *watchdog)
{
	watchdog->take_at =
		g_get_monotonic_time() + (gint64)watchdog->take_pause_s * G_USEC_PER_SEC;
}

static void take(struct beside_watchdog *watchdog)
{
	struct rpc_beside_answer answer;
	g_autoptr(GError) error = NULL;

	/* A connection that is dead still counts as a consumer. */
	if (rpc_beside_control(&watchdog->config->rpc, RPC_BESIDE_TYPE_ECHO, NULL, ECHO_S, &answer,
			       &error) == 0 &&
	    beside_take(watchdog->config, &error) == 0) {
		(void)set_problem(watchdog, NULL);
		g_message("this host's requests come to novasnapd first again");
		watchdog->take_pause_s = TAKE_PAUSE_S;
		return;
	}
	if (set_problem(watchdog, error))
		g_warning("cannot take this host's requests: %s; trying again", error->message);
	set_take_pause(watchdog);
	watchdog->take_pause_s = MIN(watchdog->take_pause_s * 2, TAKE_PAUSE_MAX_S);
}

static bool may_take(const struct beside_watchdog *watchdog,
		     const struct rpc_forward_status *status)
{
	return status->consuming && status->idle_us <= WELL_US && !status->refused &&
	       g_get_monotonic_time() >= watchdog->take_at;
}

/* A process that was killed while it took the requests may not have sent the marker. Until one
 * arrives, all requests go to nova-compute. */
static void watch_marker(struct beside_watchdog *watchdog, const struct rpc_forward_status *status)
{
	gint64 now = g_get_monotonic_time();

	if (!status->consuming || status->intercepting) {
		watchdog->passing_since = 0;
		return;
	}
	if (watchdog->passing_since == 0)
		watchdog->passing_since = now;
	if (now - watchdog->passing_since < MARKER_S * G_USEC_PER_SEC ||
	    !may_take(watchdog, status))
		return;
	take(watchdog);
	watchdog->passing_since = 0;
}

static void watch_taken(struct beside_watchdog *watchdog, const struct rpc_forward_status *status)
{
	g_autofree char *reason = NULL;

	watch_marker(watchdog, status);
	if (g_get_monotonic_time() < watchdog->give_back_at ||
	    !beside_progress_is_stuck(&watchdog->progress, watchdog->config, status))
		return;
	reason = g_strdup_printf("requests may wait, and the forwarding thread has made no "
				 "progress for [novasnap]beside_patience, %u s",
				 watchdog->config->beside_patience_s);
	give_back(watchdog, reason);
	set_take_pause(watchdog);
	watchdog->give_back_at = watchdog->take_at;
}

static void watch_given_back(struct beside_watchdog *watchdog,
			     const struct rpc_forward_status *status)
{
	watchdog->passing_since = 0;
	if (may_take(watchdog, status))
		take(watchdog);
}

/* A broker that was restarted may have lost exchanges and bindings, and requests to this host with
 * them. */
static void restore_after_connecting(struct beside_watchdog *watchdog,
				     const struct rpc_forward_status *status)
{
	g_autoptr(GError) error = NULL;

	if (!status->connected || status->connection == watchdog->restored ||
	    g_get_monotonic_time() < watchdog->restore_at)
		return;
	if (beside_restore(watchdog->config, &error) == 0) {
		watchdog->restored = status->connection;
		(void)set_problem(watchdog, NULL);
		return;
	}
	if (set_problem(watchdog, error))
		g_warning("cannot make again what the broker may have lost: %s; trying again",
			  error->message);
	watchdog->restore_at = g_get_monotonic_time() + RESTORE_PAUSE_US;
}

static void watch(struct beside_watchdog *watchdog)
{
	struct rpc_forward_status status;
	struct beside_state state;

	rpc_forward_check_stuck_write(watchdog->rpc);
	rpc_forward_get_status(watchdog->rpc, &status);
	if (beside_state_read(watchdog->config->state_dir, &state, NULL) < 0) {
		rpc_forward_status_clear(&status);
		return;
	}
	/* `novasnap beside` may have solved it. */
	if (state.stage != BESIDE_ENABLED ||
	    (!state.given_back && status.connection == watchdog->restored))
		(void)set_problem(watchdog, NULL);
	if (state.stage == BESIDE_ENABLED) {
		restore_after_connecting(watchdog, &status);
		if (state.given_back)
			watch_given_back(watchdog, &status);
		else
			watch_taken(watchdog, &status);
	}
	rpc_forward_status_clear(&status);
}

static void *watchdog_main(void *opaque)
{
	struct beside_watchdog *watchdog = opaque;
	struct beside_state state;

	pthread_mutex_lock(&watchdog->lock);
	while (!watchdog->stopping) {
		struct timespec next = thread_deadline(TURN_MS);

		pthread_mutex_unlock(&watchdog->lock);
		watch(watchdog);
		pthread_mutex_lock(&watchdog->lock);
		while (!watchdog->stopping &&
		       pthread_cond_clockwait(&watchdog->changed, &watchdog->lock, CLOCK_MONOTONIC,
					      &next) == 0)
			;
	}
	pthread_mutex_unlock(&watchdog->lock);
	if (beside_state_read(watchdog->config->state_dir, &state, NULL) == 0 &&
	    state.stage == BESIDE_ENABLED && !state.given_back)
		give_back(watchdog, "novasnapd stops");
	return NULL;
}

static void watchdog_free(struct beside_watchdog *watchdog)
{
	pthread_cond_destroy(&watchdog->changed);
	pthread_mutex_destroy(&watchdog->lock);
	g_free(watchdog->problem);
	g_free(watchdog);
}

struct beside_watchdog *beside_watchdog_start(const struct config *config, struct rpc *rpc,
					      struct beside_mode *mode, GError **error)
{
	struct beside_watchdog *watchdog = g_new0(struct beside_watchdog, 1);
	int rc;

	watchdog->config = config;
	watchdog->rpc = rpc;
	watchdog->mode = mode;
	watchdog->take_pause_s = TAKE_PAUSE_S;
	watchdog->restored = UINT_MAX;
	beside_progress_init(&watchdog->progress);
	pthread_mutex_init(&watchdog->lock, NULL);
	pthread_cond_init(&watchdog->changed, NULL);
	rc = thread_start(&watchdog->thread, THREAD_STACK_SIZE, watchdog_main, watchdog);
	if (rc == 0)
		return watchdog;
	g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED,
		    "cannot start the watchdog of the mode beside: %s", g_strerror(rc));
	watchdog_free(watchdog);
	return NULL;
}

void beside_watchdog_begin_stop(struct beside_watchdog *watchdog)
{
	pthread_mutex_lock(&watchdog->lock);
	watchdog->stopping = true;
	pthread_cond_signal(&watchdog->changed);
	pthread_mutex_unlock(&watchdog->lock);
}

void beside_watchdog_stop(struct beside_watchdog *watchdog)
{
	beside_watchdog_begin_stop(watchdog);
	pthread_join(watchdog->thread, NULL);
	watchdog_free(watchdog);
}
