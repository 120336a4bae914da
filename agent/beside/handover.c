/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See handover.h.
 */
#include "agent/beside/handover.h"

#include "agent/beside/handover-step.h"

#define LOCK_S 5

typedef int step_fn(const struct config *config, struct beside_state *state, GError **error);

/* Runs a step under the lock if the stage is BESIDE_ENABLED. `reason`: why requests are given back,
 * which is logged; NULL: they are not. */
static int run_enabled(const struct config *config, step_fn *step, const char *reason,
		       GError **error)
{
	int lock = beside_lock(config->state_dir, LOCK_S, error);
	struct beside_state state;
	int rc;

	if (lock < 0)
		return -1;
	rc = beside_state_read(config->state_dir, &state, error);
	if (rc == 0 && state.stage == BESIDE_ENABLED)
		rc = handover_check_exchange(config, &state, error);
	if (rc == 0 && state.stage == BESIDE_ENABLED) {
		if (reason)
			g_message("giving this host's requests back to nova-compute: %s", reason);
		rc = step(config, &state, error);
	}
	beside_unlock(lock);
	return rc;
}

int beside_give_back(const struct config *config, const char *reason, GError **error)
{
	return run_enabled(config, handover_give_back, reason, error);
}

int beside_take(const struct config *config, GError **error)
{
	return run_enabled(config, handover_take, NULL, error);
}

int beside_restore(const struct config *config, GError **error)
{
	return run_enabled(config, handover_restore, NULL, error);
}
