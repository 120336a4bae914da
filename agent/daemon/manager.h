/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The manager: takes the requests that rpc/ hands over, and makes a job of each method that is
 * ours. What stands here is shared by all jobs; each job's own state is a struct task (task.h).
 */
#ifndef NOVASNAP_AGENT_MANAGER_H
#define NOVASNAP_AGENT_MANAGER_H

#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>

#include "agent/config/config.h"
#include "agent/journal/journal.h"
#include "agent/task/worker-pool.h"
#include "image/image.h"
#include "rpc/rpc.h"
#include "virt/virt.h"

/* The method of `novasnap cancel`, a call with the argument id: an image's or an instance's. */
#define MANAGER_CANCEL "novasnap_cancel"
#define MANAGER_VERSION "6.0"

struct recovery;
struct task_method;

struct manager {
	const struct config *config;
	struct rpc *rpc;
	struct virt_host *host;
	struct image_store *store;
	struct cinder_service *volumes; /* NULL: Cinder is not configured */
	struct service *service;	/* NULL: [novasnap]report_state is off */
	struct jobs *jobs;
	struct journal *journal;   /* NULL: none is kept */
	struct recovery *recovery; /* NULL: none is needed */
	pthread_mutex_t hold_lock;
	/* Guarded by it. */
	unsigned holds; /* jobs that wait for the journal */
	bool stopping;
	atomic_uint unhandled; /* casts of methods that are not ours */
	/* Told of every progress beside the broker's listeners; may be NULL. Any thread. */
	void (*progress)(const struct nova_progress *progress, void *opaque);
	void *progress_opaque;
};

/* Opens libvirt and the image store. The rpc must live longer; NULL: there is no broker, and
 * `config` has no conductor and no notifications. It serves what manager_take is given. NULL with
 * the error of whatever could not be opened. */
struct manager *manager_open(const struct config *config, struct rpc *rpc, GError **error);
/* Takes up what the journal has open, and starts to serve. Also when it failed, jobs may run:
 * manager_stop is called in either case. */
int manager_start(struct manager *manager, GError **error);

/* What a manager serves: its methods, in the versions that we know. */
struct rpc_server_ops manager_server_ops(struct manager *manager);

/* Takes a request. False, after it was rejected, when it is none of our methods', or makes no
 * sense. */
bool manager_take(struct manager *manager, struct rpc_request *request);

/* The method of that name, if a task can be made of it; else NULL. */
const struct task_method *manager_find_method(const char *name);

/* What novasnapd is doing, as status.h has it. The caller deletes it. Any thread, until
 * manager_stop is called. */
cJSON *manager_describe(struct manager *manager);
/* Ends the snapshots of an instance, or the one into an image. Returns how many. The same. */
unsigned manager_cancel(struct manager *manager, const char *id);

/* From a job, while the journal cannot be written: no more casts are taken until the last such job
 * has called manager_release. */
void manager_hold(struct manager *manager, const GError *error);
void manager_release(struct manager *manager);

/* Takes no more casts, and lets what is under way end within the configured grace time; what does
 * not is cancelled and ends as a failure. Returns how many jobs even so did not end: their threads
 * still use the manager, which is then not to be freed. */
unsigned manager_stop(struct manager *manager);
/* From another thread, while manager_stop waits, until manager_free: cancel now. */
void manager_hurry(struct manager *manager);
/* After manager_stop has returned 0. Takes NULL. */
void manager_free(struct manager *manager);

#endif
