/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Takes this host's requests, and gives them back to nova-compute: the functions of rpc/beside.h
 * under the lock, with the state file. For novasnapd (its start, its clean stop, its watchdog) and
 * for `novasnap beside`. They block, for about 5 s for the lock and half a minute for a broker that
 * does not answer, on connections of their own. All do nothing unless the stage is BESIDE_ENABLED.
 */
#ifndef NOVASNAP_AGENT_BESIDE_HANDOVER_H
#define NOVASNAP_AGENT_BESIDE_HANDOVER_H

#include "agent/beside/state.h"
#include "agent/config/config.h"

/* Requests go to nova-compute's queue, and the state file says so. `reason` is logged: "novasnapd
 * stops". Returns 0, or -1 with an RPC_ERROR or a G_FILE_ERROR. */
int beside_give_back(const struct config *config, const char *reason, GError **error);
/* Requests go to novasnapd's queue again. The forwarding thread must be consuming: this waits for
 * its answer to a new marker, so another thread must call it. Returns 0, or -1 with an RPC_ERROR or
 * a G_FILE_ERROR; then requests are given back. */
int beside_take(const struct config *config, GError **error);
/* Makes again what the broker has lost, by the state file: a restart of RabbitMQ removes transient
 * exchanges and their bindings. Who gets the requests does not change. Returns 0, or -1 with an
 * RPC_ERROR or a G_FILE_ERROR. */
int beside_restore(const struct config *config, GError **error);

#endif
