/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sets the mode of the forwarding thread (rpc/forward.h) by the files of agent/beside/state.h.
 * While requests are given back it is never RPC_FORWARD_INTERCEPT: a snapshot that is in both
 * queues would run here, too.
 */
#ifndef NOVASNAP_AGENT_DAEMON_BESIDE_MODE_H
#define NOVASNAP_AGENT_DAEMON_BESIDE_MODE_H

#include "agent/beside/state.h"
#include "agent/config/config.h"
#include "rpc/forward.h"

struct beside_mode;

/* The arguments must outlive the mode. */
struct beside_mode *beside_mode_new(const struct config *config, struct rpc *rpc);
void beside_mode_free(struct beside_mode *mode);

/* Both read the files, and are called by one thread. */
void beside_mode_update(struct beside_mode *mode);
/* Does what the control message says, answers it, and frees it. */
void beside_mode_handle_control(struct beside_mode *mode, struct rpc_forward_control *control);

/* Any thread, one at a time. Between the two, and when the first returns, requests are forwarded.
 */
void beside_mode_begin_give_back(struct beside_mode *mode);
void beside_mode_end_give_back(struct beside_mode *mode);
/* The state that was read last. Any thread. */
void beside_mode_get_state(struct beside_mode *mode, struct beside_state *ret_state);

#endif
