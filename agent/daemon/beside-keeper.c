/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See beside-keeper.h.
 */
#include "agent/daemon/beside-keeper.h"

#include <pthread.h>
#include <stdatomic.h>

#include "agent/beside/handover.h"
#include "agent/task/thread.h"
#include "rpc/forward.h"

#define TURN_MS 1000
/* A thread that has a turn each second is well. */
#define WELL_US (3 * G_USEC_PER_SEC)
#define ECHO_S 3
/* The pause before the next try to take the requests. It is doubled after each failure. */
#define TAKE_PAUSE_S 5
#define TAKE_PAUSE_MAX_S 60
#define RESTORE_PAUSE_US (5 * G_USEC_PER_SEC)
/* How often the broker is asked what waits while nothing arrives. */
#define IDLE_COUNT_US (30 * G_USEC_PER_SEC)

struct beside_keeper {
	const struct config *config;
	struct rpc *rpc;
	pthread_t state_thread, watchdog;
	bool forwards, has_state_thread, has_watchdog;
	/* No method is taken out, whatever the state file says. */
	atomic_bool giving_back;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	GQueue controls; /* struct rpc_forward_control, oldest first */
	bool stopping;	 /* the watchdog gives the requests back, and ends */
	bool ending;	 /* the other thread ends, too */
	struct beside_state state;

	/* Used only by the state thread. */
	bool is_unreadable;
	/* Used only by the watchdog. */
	gint64 take_at, give_back_at; /* monotonic us: the next try */
	unsigned take_pause_s;
	gint64 counted_at; /* monotonic us */
	unsigned restored; /* the connection after which the broker's objects were made again */
	gint64 restore_at; /* monotonic us: the next try */
};

static void queue_control(struct rpc_forward_control *control, void *opaque)
{
	struct beside_keeper *keeper = opaque;

	pthread_mutex_lock(&keeper->lock);
	g_queue_push_tail(&keeper->controls, control);
	pthread_cond_broadcast(&keeper->changed);
	pthread_mutex_unlock(&keeper->lock);
}

/* Returns 0, or -1 if the state is unknown. */
static int read_state(struct beside_keeper *keeper, struct beside_state *ret_state)
{
	g_autoptr(GError) error = NULL;
	int rc = beside_state_read(keeper->config->state_dir, ret_state, &error);

	if (rc < 0 && !keeper->is_unreadable)
		g_warning("forwarding everything to nova-compute: %s", error->message);
	keeper->is_unreadable = rc < 0;
	if (rc < 0)
		return -1;
	pthread_mutex_lock(&keeper->lock);
	keeper->state = *ret_state;
	pthread_mutex_unlock(&keeper->lock);
	return 0;
}

static enum rpc_forward_mode choose_mode(struct beside_keeper *keeper)
{
	struct beside_state state;

	if (read_state(keeper, &state) < 0)
		return MIN(rpc_forward_get_mode(keeper->rpc), RPC_FORWARD_PASS);
	switch (state.stage) {
	case BESIDE_OFF:
	case BESIDE_REMOVING:
		return RPC_FORWARD_OFF;
	case BESIDE_DISABLING:
		return RPC_FORWARD_PASS;
	case BESIDE_ENABLING:
	case BESIDE_ENABLED:
	default:
		return !atomic_load(&keeper->giving_back) &&
				       beside_is_intercepting(keeper->config->state_dir, &state)
			       ? RPC_FORWARD_INTERCEPT
			       : RPC_FORWARD_PASS;
	}
}

static bool keep_marker(struct beside_keeper *keeper, const char *marker)
{
	const char *state_dir = keeper->config->state_dir;
	g_autoptr(GError) error = NULL;
	struct beside_state state;

	if (marker && (read_state(keeper, &state) < 0 || g_strcmp0(state.marker, marker) != 0))
		return false;
	if (beside_intercepting_write(state_dir, marker, &error) == 0)
		return true;
	g_warning("forwarding everything to nova-compute: %s", error->message);
	return false;
}

static void handle_control(struct beside_keeper *keeper, struct rpc_forward_control *control)
{
	const char *type = rpc_forward_control_type(control);

	if (g_str_equal(type, RPC_BESIDE_TYPE_PASS)) {
		g_message("forwarding all requests to nova-compute");
		(void)keep_marker(keeper, NULL);
	} else if (g_str_equal(type, RPC_BESIDE_TYPE_INTERCEPT) &&
		   keep_marker(keeper, rpc_forward_control_id(control))) {
		g_message("taking this host's snapshots, beside nova-compute");
	}
	rpc_forward_answer(keeper->rpc, control, choose_mode(keeper));
}

static void *state_main(void *opaque)
{
	struct beside_keeper *keeper = opaque;

	pthread_mutex_lock(&keeper->lock);
	while (!keeper->ending) {
		struct timespec next = thread_deadline(TURN_MS);
		struct rpc_forward_control *control = g_queue_pop_head(&keeper->controls);

		if (control) {
			pthread_mutex_unlock(&keeper->lock);
			handle_control(keeper, control);
			pthread_mutex_lock(&keeper->lock);
			continue;
		}
		pthread_mutex_unlock(&keeper->lock);
		(void)rpc_forward_set_mode(keeper->rpc, choose_mode(keeper));
		pthread_mutex_lock(&keeper->lock);
		if (!keeper->ending && g_queue_is_empty(&keeper->controls))
			(void)pthread_cond_clockwait(&keeper->changed, &keeper->lock,
						     CLOCK_MONOTONIC, &next);
	}
	pthread_mutex_unlock(&keeper->lock);
	return NULL;
}

static void give_back(struct beside_keeper *keeper, const char *reason)
{
	g_autoptr(GError) error = NULL;

	/* Before nova-compute's queue is bound: a snapshot that is in both queues would run here,
	 * too. The state thread sets the mode as well, so it must not choose another one. */
	atomic_store(&keeper->giving_back, true);
	(void)rpc_forward_set_mode(keeper->rpc, RPC_FORWARD_PASS);
	if (beside_give_back(keeper->config, reason, &error) < 0)
		g_warning("cannot give this host's requests back to nova-compute (%s): %s; each "
			  "one reaches it %d s late; run `novasnap beside --guard`",
			  reason, error->message, RPC_BESIDE_TTL_MS / 1000);
	atomic_store(&keeper->giving_back, false);
}

static void set_take_pause(struct beside_keeper *keeper)
{
	keeper->take_at = g_get_monotonic_time() + (gint64)keeper->take_pause_s * G_USEC_PER_SEC;
}

/* Whether messages wait for a thread that does nothing. Those that the broker has sent to a thread
 * that does not read them cannot be counted, so they are assumed to be there. */
static bool is_stuck(struct beside_keeper *keeper, const struct rpc_forward_status *status)
{
	gint64 patience = (gint64)keeper->config->beside_patience_s * G_USEC_PER_SEC;
	gint64 now = g_get_monotonic_time();
	bool is_still = status->idle_us > patience;
	g_autoptr(GError) error = NULL;
	unsigned waiting = 0;

	if (!is_still && (status->unchanged_us <= patience || status->refused))
		return false;
	/* Also while it may not consume: a lost connection is a consumer until the broker notices
	 * its loss, and what that was sent does not count as waiting. */
	if (status->connected && (is_still || !status->consuming))
		return true;
	/* The broker sends messages into a connection that is dead, or sends them elsewhere. */
	if (!is_still && status->overdue_us > patience)
		return true;
	/* Nothing arrives, and usually nothing waits. */
	if (!is_still && status->consuming && now - keeper->counted_at < IDLE_COUNT_US)
		return false;
	keeper->counted_at = now;
	if (rpc_forward_count_waiting(&keeper->config->rpc, &waiting, &error) < 0)
		g_info("cannot count the messages that wait: %s", error->message);
	return waiting > 0;
}

static void watch_taken(struct beside_keeper *keeper, const struct rpc_forward_status *status)
{
	g_autofree char *reason = NULL;

	if (g_get_monotonic_time() < keeper->give_back_at || !is_stuck(keeper, status))
		return;
	reason = g_strdup_printf("requests may wait, and the forwarding thread has made no "
				 "progress for [novasnap]beside_patience, %u s",
				 keeper->config->beside_patience_s);
	give_back(keeper, reason);
	set_take_pause(keeper);
	keeper->give_back_at = keeper->take_at;
}

static void watch_given_back(struct beside_keeper *keeper, const struct rpc_forward_status *status)
{
	struct rpc_beside_answer answer;
	g_autoptr(GError) error = NULL;

	if (!status->consuming || status->idle_us > WELL_US || status->refused ||
	    g_get_monotonic_time() < keeper->take_at)
		return;
	/* A connection that is dead still counts as a consumer. */
	if (rpc_beside_control(&keeper->config->rpc, RPC_BESIDE_TYPE_ECHO, NULL, ECHO_S, &answer,
			       &error) == 0 &&
	    beside_take(keeper->config, &error) == 0) {
		g_message("this host's requests come to novasnapd first again");
		keeper->take_pause_s = TAKE_PAUSE_S;
		return;
	}
	g_warning("cannot take this host's requests: %s; trying again in %u s", error->message,
		  keeper->take_pause_s);
	set_take_pause(keeper);
	keeper->take_pause_s = MIN(keeper->take_pause_s * 2, TAKE_PAUSE_MAX_S);
}

/* A broker that was restarted may have lost exchanges and bindings, and requests to this host with
 * them. */
static void restore_after_connecting(struct beside_keeper *keeper,
				     const struct rpc_forward_status *status)
{
	g_autoptr(GError) error = NULL;

	if (!status->connected || status->connection == keeper->restored ||
	    g_get_monotonic_time() < keeper->restore_at)
		return;
	if (beside_restore(keeper->config, &error) == 0) {
		keeper->restored = status->connection;
		return;
	}
	g_warning("cannot make again what the broker may have lost: %s; trying again in %d s",
		  error->message, (int)(RESTORE_PAUSE_US / G_USEC_PER_SEC));
	keeper->restore_at = g_get_monotonic_time() + RESTORE_PAUSE_US;
}

static void watch(struct beside_keeper *keeper)
{
	struct rpc_forward_status status;
	struct beside_state state;

	rpc_forward_check_stuck_write(keeper->rpc);
	rpc_forward_get_status(keeper->rpc, &status);
	if (beside_state_read(keeper->config->state_dir, &state, NULL) == 0 &&
	    state.stage == BESIDE_ENABLED) {
		restore_after_connecting(keeper, &status);
		if (state.given_back)
			watch_given_back(keeper, &status);
		else
			watch_taken(keeper, &status);
	}
	rpc_forward_status_clear(&status);
}

static void *watchdog_main(void *opaque)
{
	struct beside_keeper *keeper = opaque;
	struct beside_state state;

	pthread_mutex_lock(&keeper->lock);
	while (!keeper->stopping) {
		struct timespec next = thread_deadline(TURN_MS);

		pthread_mutex_unlock(&keeper->lock);
		watch(keeper);
		pthread_mutex_lock(&keeper->lock);
		while (!keeper->stopping && pthread_cond_clockwait(&keeper->changed, &keeper->lock,
								   CLOCK_MONOTONIC, &next) == 0)
			;
	}
	pthread_mutex_unlock(&keeper->lock);
	if (beside_state_read(keeper->config->state_dir, &state, NULL) == 0 &&
	    state.stage == BESIDE_ENABLED && !state.given_back)
		give_back(keeper, "novasnapd stops");
	return NULL;
}

static int start_thread(pthread_t *ret_thread, void *(*run)(void *), struct beside_keeper *keeper,
			GError **error)
{
	int rc = thread_start(ret_thread, THREAD_STACK_SIZE, run, keeper);

	if (rc == 0)
		return 0;
	g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED,
		    "cannot start a thread for the mode beside: %s", g_strerror(rc));
	return -1;
}

struct beside_keeper *beside_keeper_start(const struct config *config, struct rpc *rpc,
					  const char *always, GError **error)
{
	struct beside_keeper *keeper = g_new0(struct beside_keeper, 1);
	const struct rpc_forward_ops ops = {config->beside_methods, always, queue_control, keeper};

	keeper->config = config;
	keeper->rpc = rpc;
	keeper->take_pause_s = TAKE_PAUSE_S;
	keeper->restored = UINT_MAX;
	pthread_mutex_init(&keeper->lock, NULL);
	pthread_cond_init(&keeper->changed, NULL);
	g_queue_init(&keeper->controls);
	keeper->forwards = rpc_forward_start(rpc, &ops, error) == 0;
	keeper->has_state_thread = keeper->forwards && start_thread(&keeper->state_thread,
								    state_main, keeper, error) == 0;
	keeper->has_watchdog = keeper->has_state_thread &&
			       start_thread(&keeper->watchdog, watchdog_main, keeper, error) == 0;
	if (keeper->has_watchdog)
		return keeper;
	beside_keeper_stop(keeper);
	return NULL;
}

void beside_keeper_begin_stop(struct beside_keeper *keeper)
{
	if (!keeper)
		return;
	pthread_mutex_lock(&keeper->lock);
	keeper->stopping = true;
	pthread_cond_broadcast(&keeper->changed);
	pthread_mutex_unlock(&keeper->lock);
}

void beside_keeper_stop(struct beside_keeper *keeper)
{
	struct rpc_forward_control *control;

	if (!keeper)
		return;
	beside_keeper_begin_stop(keeper);
	if (keeper->has_watchdog)
		pthread_join(keeper->watchdog, NULL);
	pthread_mutex_lock(&keeper->lock);
	keeper->ending = true;
	pthread_cond_broadcast(&keeper->changed);
	pthread_mutex_unlock(&keeper->lock);
	if (keeper->has_state_thread)
		pthread_join(keeper->state_thread, NULL);
	if (keeper->forwards)
		rpc_forward_detach(keeper->rpc);
	while ((control = g_queue_pop_head(&keeper->controls)))
		rpc_forward_answer(keeper->rpc, control, RPC_FORWARD_PASS);
	pthread_cond_destroy(&keeper->changed);
	pthread_mutex_destroy(&keeper->lock);
	g_free(keeper);
}

static void add_delays(cJSON *object, const char *name, gint64 last, gint64 median, gint64 max)
{
	const char *const names[] = {"last", "median", "max"};
	const gint64 delays[] = {last, median, max};
	cJSON *into = cJSON_AddObjectToObject(object, name);

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		if (delays[i] < 0)
			cJSON_AddNullToObject(into, names[i]);
		else
			cJSON_AddNumberToObject(into, names[i], (double)delays[i] / 1000.0);
	}
}

cJSON *beside_keeper_describe(struct beside_keeper *keeper)
{
	cJSON *object = cJSON_CreateObject();
	struct rpc_forward_status status;
	struct beside_state state;

	pthread_mutex_lock(&keeper->lock);
	state = keeper->state;
	pthread_mutex_unlock(&keeper->lock);
	rpc_forward_get_status(keeper->rpc, &status);
	cJSON_AddStringToObject(object, "stage", beside_stage_name(state.stage));
	cJSON_AddBoolToObject(object, "given_back", state.given_back);
	cJSON_AddBoolToObject(object, "consuming", status.consuming);
	cJSON_AddBoolToObject(object, "intercepting", status.intercepting);
	cJSON_AddNumberToObject(object, "held", status.held);
	cJSON_AddNumberToObject(object, "forwarded", (double)status.forwarded);
	cJSON_AddNumberToObject(object, "taken", (double)status.taken);
	cJSON_AddNumberToObject(object, "dead_lettered", (double)status.rejected);
	add_delays(object, "delay_ms", status.delay_last, status.delay_median, status.delay_max);
	add_delays(object, "hop_ms", status.hop_last, status.hop_median, status.hop_max);
	if (status.problem)
		cJSON_AddStringToObject(object, "problem", status.problem);
	rpc_forward_status_clear(&status);
	return object;
}
