/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See beside-common.h.
 */
#include "agent/command/beside-common.h"

#include "agent/beside/state.h"
#include "agent/command/common.h"
#include "agent/task/fault-point.h"
#include "rpc/beside-look.h"

#define LOCK_S 30
#define CONSUMER_S 30
#define POLL_US (G_USEC_PER_SEC / 2)

int beside_check_fault(const char *step, const char *when, GError **error)
{
	return fault_at(step, when) ? fault_lost_reply(step, error) : 0;
}

int beside_fail(const GError *error)
{
	return command_fail("beside", error);
}

int beside_run_locked(const struct config *config,
		      int (*run)(const struct config *config, GError **error), GError **error)
{
	g_autoptr(rpc_beside_names_t) names = rpc_beside_names_new(&config->rpc, error);
	int lock = names ? beside_lock(config->state_dir, LOCK_S, error) : -1;
	int rc;

	if (lock < 0)
		return -1;
	rc = run(config, error);
	beside_unlock(lock);
	return rc;
}

/* Waits until nobody consumes the queue: novasnapd has read the stage. */
static int wait_until_unused(const struct rpc_config *rpc, GError **error)
{
	gint64 until = g_get_monotonic_time() + CONSUMER_S * G_USEC_PER_SEC;
	struct rpc_beside_objects objects;

	do {
		if (rpc_beside_look(rpc, &objects, error) < 0)
			return -1;
		if (objects.queue.consumers == 0)
			return 0;
		g_usleep(POLL_US);
	} while (g_get_monotonic_time() < until);
	g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED,
		    "novasnapd's queue still has %u consumers after %d s; stop novasnapd, and run "
		    "this again",
		    objects.queue.consumers, CONSUMER_S);
	return -1;
}

int beside_remove(const struct config *config, bool keep_exchange, GError **error)
{
	struct beside_state state = {.stage = BESIDE_REMOVING, .given_back = true};

	if (beside_state_write(config->state_dir, &state, error) < 0 ||
	    wait_until_unused(&config->rpc, error) < 0 ||
	    rpc_beside_remove(&config->rpc, keep_exchange, error) < 0)
		return -1;
	state.stage = BESIDE_OFF;
	return beside_state_write(config->state_dir, &state, error);
}
