/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of methods that are served, and the start and stop of all that they need.
 */
#include "agent/manager.h"

/* How long cancelled jobs may take to undo what they did and to tell the conductor. */
#define CANCEL_S 60

static void handle_snapshot_instance(struct rpc_request *request, void *opaque)
{
	snapshot_instance_submit(opaque, request);
}

static void note_foreign(const char *method, const struct rpc_request *request, void *opaque)
{
	struct manager *manager = opaque;
	unsigned count = atomic_fetch_add(&manager->foreign, 1) + 1;

	g_warning("the cast %s (request %s) is not one that novasnapd serves, and is dropped; "
		  "%u such so far",
		  method, rpc_context_string(rpc_request_context(request), "request_id"), count);
}

static const struct rpc_method methods[] = {
	{"snapshot_instance", handle_snapshot_instance},
	{NULL, NULL},
};

/* Zed sends 6.0 or, pinned, 5.x; the newest known minor of each. */
static const char *const versions[] = {"5.13", "6.5", NULL};

struct manager *manager_start(const struct config *config, struct rpc *rpc, GError **error)
{
	struct manager *manager = g_new0(struct manager, 1);
	struct rpc_server_ops ops = {methods, versions, note_foreign, manager};

	manager->config = config;
	manager->rpc = rpc;
	manager->jobs = jobs_new(config->max_concurrent_snapshots);
	manager->store = image_store_new(&config->image, error);
	if (!manager->store)
		goto failed;
	manager->host = virt_host_open(&config->virt, error);
	if (!manager->host)
		goto failed;
	if (rpc_server_start(rpc, &ops, error) < 0)
		goto failed;
	return manager;

failed:
	virt_host_close(manager->host);
	image_store_free(manager->store);
	jobs_free(manager->jobs);
	g_free(manager);
	return NULL;
}

unsigned manager_stop(struct manager *manager)
{
	unsigned left;

	rpc_server_stop(manager->rpc);
	left = jobs_stop(manager->jobs, manager->config->shutdown_grace_s, CANCEL_S);
	if (left > 0)
		return left;
	virt_host_close(manager->host);
	image_store_free(manager->store);
	jobs_free(manager->jobs);
	g_free(manager);
	return 0;
}

void manager_hurry(struct manager *manager)
{
	jobs_hurry(manager->jobs);
}
