/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See handover-step.h.
 */
#include "agent/beside/handover-step.h"

#include "rpc/beside.h"

#define ANSWER_S 10
/* A message that the broker has routed by both bindings is in both queues by then. */
#define SETTLE_US (G_USEC_PER_SEC / 2)

static void new_marker(struct beside_state *state)
{
	g_autofree char *uuid = g_uuid_string_random();
	char *to = state->marker;

	for (const char *from = uuid; *from; from++) {
		if (*from != '-')
			*to++ = *from;
	}
	*to = '\0';
}

int handover_give_back(const struct config *config, struct beside_state *state, GError **error)
{
	/* The forwarding thread stops to take its methods out before nova-compute gets copies. */
	state->given_back = true;
	if (beside_state_write(config->state_dir, state, error) < 0)
		return -1;
	return rpc_beside_give_back(&config->rpc, error);
}

static int send_marker(const struct config *config, const struct beside_state *state,
		       GError **error)
{
	struct rpc_beside_answer answer;

	g_usleep(SETTLE_US);
	if (rpc_beside_control(&config->rpc, RPC_BESIDE_TYPE_INTERCEPT, state->marker, ANSWER_S,
			       &answer, error) < 0)
		return -1;
	if (answer.intercepting)
		return 0;
	g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED,
		    "novasnapd (pid %" G_GINT64_FORMAT ") received the marker, and does not take "
		    "its methods out; does it have the same [novasnap]state_dir, %s?",
		    answer.pid, config->state_dir);
	return -1;
}

int handover_check_exchange(const struct config *config, const struct beside_state *state,
			    GError **error)
{
	const char *now = config->rpc.control_exchange;

	if (!*state->exchange || g_str_equal(state->exchange, now))
		return 0;
	g_set_error(
		error, RPC_ERROR, RPC_ERROR_CONFIG,
		"[DEFAULT]control_exchange gives the cloud's exchange %s, and at --enable it was "
		"%s: is the line in nova-compute's configuration another host's? This host's is "
		"control_exchange = %s.%s",
		now, state->exchange, state->exchange, config->rpc.host);
	return -1;
}

int handover_take(const struct config *config, struct beside_state *state, GError **error)
{
	g_autoptr(GError) undone = NULL;

	/* With the new marker the forwarding thread forwards everything until it arrives. */
	new_marker(state);
	state->given_back = false;
	if (beside_state_write(config->state_dir, state, error) < 0)
		return -1;
	if (rpc_beside_take(&config->rpc, error) == 0 && send_marker(config, state, error) == 0)
		return 0;
	if (handover_give_back(config, state, &undone) < 0)
		g_prefix_error(error, "%s; before that: ", undone->message);
	return -1;
}

int handover_restore(const struct config *config, struct beside_state *state, GError **error)
{
	if (!state->given_back)
		return rpc_beside_take(&config->rpc, error);
	if (rpc_beside_make(&config->rpc, error) < 0)
		return -1;
	return rpc_beside_give_back(&config->rpc, error);
}
