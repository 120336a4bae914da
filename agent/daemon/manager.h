/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The manager: opens, starts and stops what novasnapd serves with.
 */
#ifndef NOVASNAP_AGENT_MANAGER_H
#define NOVASNAP_AGENT_MANAGER_H

#include "agent/task/agent.h"

struct manager;

/* Opens libvirt and the image store. `config` and `rpc` must live longer. `rpc` NULL: there is no
 * broker, and `config` has no conductor and no notifications; manager_take gives it requests. NULL
 * with the error of what could not be opened. */
struct manager *manager_open(const struct config *config, struct rpc *rpc, GError **error);
/* Before the first request: `progress` receives each progress report, in any thread. */
void manager_set_progress(struct manager *manager,
			  void (*progress)(const struct nova_progress *progress, void *opaque),
			  void *opaque);
/* Takes up what the journal has open, and starts to serve. Returns 0, or -1 with an error. Call
 * manager_stop in either case: jobs may run. */
int manager_start(struct manager *manager, GError **error);

/* Takes a request that came from no broker. False with RPC_ERROR_DECODE where its method is not
 * served or its arguments make no sense. */
bool manager_take(struct manager *manager, struct rpc_request *request, GError **error);

/* What novasnapd is doing, as in status.h. The caller deletes it. Any thread, until manager_stop is
 * called. */
cJSON *manager_describe(struct manager *manager);
/* Cancels the snapshots of an instance, or the one into an image. Returns how many. Any thread,
 * until manager_stop is called. */
unsigned manager_cancel(struct manager *manager, const char *id);

/* Takes no more requests, and lets the running jobs end within [novasnap]shutdown_grace; those that
 * do not are aborted and end as failures. Returns how many jobs run even so: their threads use the
 * manager, so it must not be freed then. May be called again. */
unsigned manager_stop(struct manager *manager);
/* Ends the grace time. From another thread, before or while manager_stop waits. */
void manager_skip_grace(struct manager *manager);
/* After manager_stop has returned 0. Takes NULL. */
void manager_free(struct manager *manager);

#endif
