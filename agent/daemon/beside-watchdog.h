/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Takes this host's requests beside nova-compute, and gives them back: when novasnapd stops, and
 * when messages wait and the forwarding thread has made no progress for [novasnap]beside_patience.
 * No progress is also a copy that the broker does not confirm. When the thread makes progress
 * again, the requests are taken again. After each new connection it makes again what the broker may
 * have lost. It has a thread, and connections of its own.
 */
#ifndef NOVASNAP_AGENT_DAEMON_BESIDE_WATCHDOG_H
#define NOVASNAP_AGENT_DAEMON_BESIDE_WATCHDOG_H

#include "agent/daemon/beside-mode.h"

struct beside_watchdog;

/* The arguments must outlive it. NULL with RPC_ERROR_FAILED. */
struct beside_watchdog *beside_watchdog_start(const struct config *config, struct rpc *rpc,
					      struct beside_mode *mode, GError **error);
/* Why the requests cannot be taken at the moment; NULL: no reason is known. The caller frees it. */
char *beside_watchdog_problem(struct beside_watchdog *watchdog);
/* Begins to give the requests back, without waiting for it. */
void beside_watchdog_begin_stop(struct beside_watchdog *watchdog);
/* Waits until they were given back, or could not be (half a minute at most), and frees it. */
void beside_watchdog_stop(struct beside_watchdog *watchdog);

#endif
