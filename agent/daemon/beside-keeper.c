/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See beside-keeper.h.
 */
#include "agent/daemon/beside-keeper.h"

#include <pthread.h>

#include "agent/daemon/beside-watchdog.h"
#include "agent/task/thread.h"

#define TURN_MS 1000

struct beside_keeper {
	struct rpc *rpc;
	struct beside_mode *mode;
	struct beside_watchdog *watchdog; /* NULL: not started */
	pthread_t state_thread;
	bool forwards, has_state_thread;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	GQueue controls; /* struct rpc_forward_control, oldest first */
	bool ending;	 /* the state thread ends */
};

static void queue_control(struct rpc_forward_control *control, void *opaque)
{
	struct beside_keeper *keeper = opaque;

	pthread_mutex_lock(&keeper->lock);
	g_queue_push_tail(&keeper->controls, control);
	pthread_cond_broadcast(&keeper->changed);
	pthread_mutex_unlock(&keeper->lock);
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
			beside_mode_handle_control(keeper->mode, control);
			pthread_mutex_lock(&keeper->lock);
			continue;
		}
		pthread_mutex_unlock(&keeper->lock);
		beside_mode_update(keeper->mode);
		pthread_mutex_lock(&keeper->lock);
		if (!keeper->ending && g_queue_is_empty(&keeper->controls))
			(void)pthread_cond_clockwait(&keeper->changed, &keeper->lock,
						     CLOCK_MONOTONIC, &next);
	}
	pthread_mutex_unlock(&keeper->lock);
	return NULL;
}

static int start_state_thread(struct beside_keeper *keeper, GError **error)
{
	int rc = thread_start(&keeper->state_thread, THREAD_STACK_SIZE, state_main, keeper);

	keeper->has_state_thread = rc == 0;
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

	keeper->rpc = rpc;
	keeper->mode = beside_mode_new(config, rpc);
	pthread_mutex_init(&keeper->lock, NULL);
	pthread_cond_init(&keeper->changed, NULL);
	g_queue_init(&keeper->controls);
	keeper->forwards = rpc_forward_start(rpc, &ops, error) == 0;
	if (keeper->forwards && start_state_thread(keeper, error) == 0)
		keeper->watchdog = beside_watchdog_start(config, rpc, keeper->mode, error);
	if (keeper->watchdog)
		return keeper;
	beside_keeper_stop(keeper);
	return NULL;
}

void beside_keeper_begin_stop(struct beside_keeper *keeper)
{
	if (keeper)
		beside_watchdog_begin_stop(keeper->watchdog);
}

static void end_state_thread(struct beside_keeper *keeper)
{
	pthread_mutex_lock(&keeper->lock);
	keeper->ending = true;
	pthread_cond_broadcast(&keeper->changed);
	pthread_mutex_unlock(&keeper->lock);
	if (keeper->has_state_thread)
		pthread_join(keeper->state_thread, NULL);
}

void beside_keeper_stop(struct beside_keeper *keeper)
{
	struct rpc_forward_control *control;

	if (!keeper)
		return;
	if (keeper->watchdog)
		beside_watchdog_stop(keeper->watchdog);
	end_state_thread(keeper);
	if (keeper->forwards)
		rpc_forward_detach(keeper->rpc);
	while ((control = g_queue_pop_head(&keeper->controls)))
		rpc_forward_answer(keeper->rpc, control, RPC_FORWARD_PASS);
	pthread_cond_destroy(&keeper->changed);
	pthread_mutex_destroy(&keeper->lock);
	beside_mode_free(keeper->mode);
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
	g_autofree char *obstacle =
		keeper->watchdog ? beside_watchdog_problem(keeper->watchdog) : NULL;
	struct rpc_forward_status status;
	struct beside_state state;

	beside_mode_get_state(keeper->mode, &state);
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
	if (status.problem || obstacle)
		cJSON_AddStringToObject(object, "problem",
					status.problem ? status.problem : obstacle);
	rpc_forward_status_clear(&status);
	return object;
}
