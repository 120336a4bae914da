/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See beside-mode.h.
 */
#include "agent/daemon/beside-mode.h"

#include <pthread.h>

struct beside_mode {
	const struct config *config;
	struct rpc *rpc;

	pthread_mutex_t lock;
	/* Guarded by the lock. */
	struct beside_state state;
	bool giving_back;
	unsigned given_back; /* how often that has begun */

	bool is_unreadable; /* used only by the thread that reads the state */
};

struct beside_mode *beside_mode_new(const struct config *config, struct rpc *rpc)
{
	struct beside_mode *mode = g_new0(struct beside_mode, 1);

	mode->config = config;
	mode->rpc = rpc;
	pthread_mutex_init(&mode->lock, NULL);
	return mode;
}

void beside_mode_free(struct beside_mode *mode)
{
	pthread_mutex_destroy(&mode->lock);
	g_free(mode);
}

void beside_mode_get_state(struct beside_mode *mode, struct beside_state *ret_state)
{
	pthread_mutex_lock(&mode->lock);
	*ret_state = mode->state;
	pthread_mutex_unlock(&mode->lock);
}

/* Returns 0, or -1 if the state is unknown. */
static int read_state(struct beside_mode *mode, struct beside_state *ret_state)
{
	g_autoptr(GError) error = NULL;
	int rc = beside_state_read(mode->config->state_dir, ret_state, &error);

	if (rc < 0 && !mode->is_unreadable)
		g_warning("forwarding everything to nova-compute: %s", error->message);
	mode->is_unreadable = rc < 0;
	if (rc < 0)
		return -1;
	pthread_mutex_lock(&mode->lock);
	mode->state = *ret_state;
	pthread_mutex_unlock(&mode->lock);
	return 0;
}

static enum rpc_forward_mode choose_mode(struct beside_mode *mode)
{
	struct beside_state state;

	if (read_state(mode, &state) < 0)
		return MIN(rpc_forward_get_mode(mode->rpc), RPC_FORWARD_PASS);
	switch (state.stage) {
	case BESIDE_OFF:
	case BESIDE_REMOVING:
		return RPC_FORWARD_OFF;
	case BESIDE_DISABLING:
		return RPC_FORWARD_PASS;
	case BESIDE_ENABLING:
	case BESIDE_ENABLED:
	default:
		return beside_is_intercepting(mode->config->state_dir, &state)
			       ? RPC_FORWARD_INTERCEPT
			       : RPC_FORWARD_PASS;
	}
}

static bool keep_marker(struct beside_mode *mode, const char *marker)
{
	const char *state_dir = mode->config->state_dir;
	g_autoptr(GError) error = NULL;
	struct beside_state state;

	if (marker && (read_state(mode, &state) < 0 || g_strcmp0(state.marker, marker) != 0))
		return false;
	if (beside_intercepting_write(state_dir, marker, &error) == 0)
		return true;
	g_warning("forwarding everything to nova-compute: %s", error->message);
	return false;
}

static unsigned count_given_back(struct beside_mode *mode)
{
	unsigned count;

	pthread_mutex_lock(&mode->lock);
	count = mode->given_back;
	pthread_mutex_unlock(&mode->lock);
	return count;
}

/* Sets the mode that the files say, and answers the control message with it, if there is one. The
 * files may be older than a giving back that began while they were read. */
static void apply_files(struct beside_mode *mode, struct rpc_forward_control *control)
{
	unsigned before = count_given_back(mode);
	enum rpc_forward_mode wanted = choose_mode(mode);

	pthread_mutex_lock(&mode->lock);
	if (mode->giving_back || mode->given_back != before)
		wanted = MIN(wanted, RPC_FORWARD_PASS);
	if (control)
		rpc_forward_answer(mode->rpc, control, wanted);
	else
		(void)rpc_forward_set_mode(mode->rpc, wanted);
	pthread_mutex_unlock(&mode->lock);
}

void beside_mode_update(struct beside_mode *mode)
{
	apply_files(mode, NULL);
}

void beside_mode_handle_control(struct beside_mode *mode, struct rpc_forward_control *control)
{
	const char *type = rpc_forward_control_type(control);

	if (g_str_equal(type, RPC_BESIDE_TYPE_PASS)) {
		g_message("forwarding all requests to nova-compute");
		(void)keep_marker(mode, NULL);
	} else if (g_str_equal(type, RPC_BESIDE_TYPE_INTERCEPT) &&
		   keep_marker(mode, rpc_forward_control_id(control))) {
		g_message("taking this host's snapshots, beside nova-compute");
	}
	apply_files(mode, control);
}

void beside_mode_begin_give_back(struct beside_mode *mode)
{
	pthread_mutex_lock(&mode->lock);
	mode->giving_back = true;
	mode->given_back++;
	(void)rpc_forward_set_mode(mode->rpc, RPC_FORWARD_PASS);
	pthread_mutex_unlock(&mode->lock);
}

void beside_mode_end_give_back(struct beside_mode *mode)
{
	pthread_mutex_lock(&mode->lock);
	mode->giving_back = false;
	pthread_mutex_unlock(&mode->lock);
}
