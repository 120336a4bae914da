/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See handover.h.
 */
#include "agent/beside/handover.h"

#include "agent/beside/handover-step.h"
#include "rpc/beside.h"

#define LOCK_S 5

int beside_give_back(const struct config *config, const char *reason, GError **error)
{
	int lock = beside_lock(config->state_dir, LOCK_S, error);
	struct beside_state state;
	int rc;

	if (lock < 0)
		return -1;
	rc = beside_state_read(config->state_dir, &state, error);
	if (rc == 0 && state.stage == BESIDE_ENABLED) {
		g_message("giving this host's requests back to nova-compute: %s", reason);
		rc = handover_give_back(config, &state, error);
	}
	beside_unlock(lock);
	return rc;
}

int beside_take(const struct config *config, GError **error)
{
	int lock = beside_lock(config->state_dir, LOCK_S, error);
	struct beside_state state;
	int rc;

	if (lock < 0)
		return -1;
	rc = beside_state_read(config->state_dir, &state, error);
	if (rc == 0 && state.stage == BESIDE_ENABLED)
		rc = handover_take(config, &state, error);
	beside_unlock(lock);
	return rc;
}

/* With the lock held, for a state that has been read. */
static int restore_locked(const struct config *config, const struct beside_state *state,
			  GError **error)
{
	if (!state->given_back)
		return rpc_beside_take(&config->rpc, error);
	if (rpc_beside_make(&config->rpc, error) < 0)
		return -1;
	return rpc_beside_give_back(&config->rpc, error);
}

int beside_restore(const struct config *config, GError **error)
{
	int lock = beside_lock(config->state_dir, LOCK_S, error);
	struct beside_state state;
	int rc;

	if (lock < 0)
		return -1;
	rc = beside_state_read(config->state_dir, &state, error);
	if (rc == 0 && state.stage == BESIDE_ENABLED)
		rc = restore_locked(config, &state, error);
	beside_unlock(lock);
	return rc;
}
