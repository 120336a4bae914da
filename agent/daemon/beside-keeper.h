/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnapd's part beside nova-compute ([novasnap]mode = beside): starts the forwarding thread
 * (rpc/forward.h), a thread that reads the state file each second and handles the control messages,
 * which need the disk (beside-mode.h), and the watchdog (beside-watchdog.h).
 */
#ifndef NOVASNAP_AGENT_DAEMON_BESIDE_KEEPER_H
#define NOVASNAP_AGENT_DAEMON_BESIDE_KEEPER_H

#include <cjson/cJSON.h>

#include "agent/config/config.h"
#include "rpc/rpc.h"

struct beside_keeper;

/* Call it before rpc_server_start, once. `config` and `rpc` must outlive the keeper; `always`: a
 * method that novasnapd takes in each stage. NULL with an error. */
struct beside_keeper *beside_keeper_start(const struct config *config, struct rpc *rpc,
					  const char *always, GError **error);
/* Begins to give the requests back to nova-compute, without waiting for it. Accepts NULL. */
void beside_keeper_begin_stop(struct beside_keeper *keeper);
/* Waits until the requests were given back, or could not be (half a minute at most), ends the
 * threads and frees the keeper. The forwarding thread forwards everything until rpc_close. Accepts
 * NULL. */
void beside_keeper_stop(struct beside_keeper *keeper);

/* The object "beside" of the status socket; the caller owns it. Any thread. */
cJSON *beside_keeper_describe(struct beside_keeper *keeper);

#endif
