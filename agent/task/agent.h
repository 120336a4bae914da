/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The data shared by all tasks of this process. The manager (agent/daemon/manager.h) opens and
 * closes it.
 */
#ifndef NOVASNAP_AGENT_AGENT_H
#define NOVASNAP_AGENT_AGENT_H

#include "agent/config/config.h"
#include "agent/journal/journal.h"
#include "agent/task/worker-pool.h"
#include "image/image.h"
#include "rpc/nova.h"
#include "rpc/rpc.h"
#include "virt/virt.h"

/* Does not change while tasks are running. */
struct agent {
	const struct config *config;
	struct rpc *rpc; /* NULL: no broker */
	struct virt_host *host;
	struct image_store *store;
	struct cinder_service *volumes; /* NULL: Cinder is not configured */
	struct worker_pool *pool;
	struct journal *journal;	     /* NULL: no journal */
	struct measures *measures;	     /* NULL: nothing is counted */
	struct release_watch *release_watch; /* NULL: the conductor is not asked */
	/* Receives each progress report, like the broker's listeners. May be NULL. Any thread. */
	void (*progress)(const struct nova_progress *progress, void *opaque);
	void *progress_opaque;
};

#endif
