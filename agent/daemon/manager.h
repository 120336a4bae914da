/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The manager: opens, starts and stops novasnapd's parts.
 */
#ifndef NOVASNAP_AGENT_MANAGER_H
#define NOVASNAP_AGENT_MANAGER_H

#include "agent/task/agent.h"

struct manager;

/* manager_stop takes at most this many seconds, besides the grace time. */
#define MANAGER_STOP_MAX_S 75

/* Opens libvirt and the image store. `config` and `rpc` must outlive the manager. `rpc` NULL: there
 * is no broker, and `config` must have no conductor and no notifications; requests come from
 * manager_take. NULL with an error. */
struct manager *manager_open(const struct config *config, struct rpc *rpc, GError **error);
/* Call it before the first request: `progress` receives each progress report, in any thread. */
void manager_set_progress(struct manager *manager,
			  void (*progress)(const struct nova_progress *progress, void *opaque),
			  void *opaque);
/* Call it before manager_start: the tasks count there. `measures` must outlive them. */
void manager_set_measures(struct manager *manager, struct measures *measures);
/* What all tasks share. Valid between manager_start and manager_stop. */
const struct agent *manager_agent(const struct manager *manager);
/* Resumes the open jobs in the journal, and starts accepting requests. Returns 0, or -1 with an
 * error. Call manager_stop in both cases, because jobs may be running. */
int manager_start(struct manager *manager, GError **error);

/* Takes a request that is not from a broker. False with RPC_ERROR_DECODE if its method is not
 * supported or its arguments are invalid. */
bool manager_take(struct manager *manager, struct rpc_request *request, GError **error);

/* The state of novasnapd, as in status.h. The caller deletes it. Any thread, before
 * manager_stop. */
cJSON *manager_describe(struct manager *manager);
/* Cancels the snapshots of an instance, or the snapshot to an image. Returns how many. Any thread,
 * before manager_stop. */
unsigned manager_cancel(struct manager *manager, const char *id);

/* Accepts no more requests, and gives the running jobs [novasnap]shutdown_grace to end. Jobs that
 * do not end are rolled back and left open in the journal, for the next process; those that are not
 * journaled fail. Returns how many jobs and other threads are still running: they use the manager,
 * which must not be freed then. May be called again. */
unsigned manager_stop(struct manager *manager);
/* Ends the grace time, and all calls to the conductor. From another thread, before or while
 * manager_stop waits. */
void manager_skip_grace(struct manager *manager);
/* Call it after manager_stop has returned 0, or before manager_start. Accepts NULL. */
void manager_free(struct manager *manager);

#endif
