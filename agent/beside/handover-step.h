/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The steps of handover.h, for a caller that has the lock and has read the state. Each leaves the
 * stage as it is, and the first two write the state file.
 */
#ifndef NOVASNAP_AGENT_BESIDE_HANDOVER_STEP_H
#define NOVASNAP_AGENT_BESIDE_HANDOVER_STEP_H

#include "agent/beside/state.h"
#include "agent/config/config.h"

/* Whether the configuration has the control exchange of --enable. With another host's line in
 * nova-compute's configuration it has not, and nothing may be made at the broker. Returns 0, or -1
 * with RPC_ERROR_CONFIG. */
int handover_check_exchange(const struct config *config, const struct beside_state *state,
			    GError **error);

/* Takes the requests with a new marker, and waits until novasnapd has received that. Otherwise
 * gives them back. Returns 0, or -1 with an RPC_ERROR or a G_FILE_ERROR. */
int handover_take(const struct config *config, struct beside_state *state, GError **error);
int handover_give_back(const struct config *config, struct beside_state *state, GError **error);
/* Makes at the broker what the state says, and leaves the state file as it is. */
int handover_restore(const struct config *config, struct beside_state *state, GError **error);

#endif
