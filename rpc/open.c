/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening and closing the whole.
 */
#include <string.h>

#include "rpc/internal.h"

#define READY_POLL_US (20 * 1000)

static void rpc_free(struct rpc *rpc)
{
	server_state_free(rpc->server);
	client_state_free(rpc->client);
	transport_url_free(rpc->url);
	g_strfreev(rpc->listen_keys);
	g_free(rpc);
}

struct rpc *rpc_open(const struct rpc_config *config, GError **error)
{
	struct rpc *rpc = g_new0(struct rpc, 1);

	/* GLib registers an error's domain once, and not from two threads at a time. */
	(void)rpc_error_quark();
	rpc->config = config;
	rpc->url = transport_url_parse(config->transport_url, error);
	if (!rpc->url) {
		rpc_free(rpc);
		return NULL;
	}
	rpc->server = server_state_new();
	rpc->client = client_state_new();
	rpc->publisher = publisher_start(config, rpc->url, error);
	if (rpc->publisher && consumer_start(rpc, error))
		return rpc;
	if (rpc->publisher)
		publisher_stop(rpc->publisher, 0);
	rpc_free(rpc);
	return NULL;
}

void rpc_close(struct rpc *rpc, unsigned grace_s)
{
	if (!rpc)
		return;
	/* The consumer watches over the publisher, so it goes first. */
	consumer_stop(rpc->consumer);
	publisher_stop(rpc->publisher, grace_s);
	rpc_free(rpc);
}

bool rpc_wait_ready(struct rpc *rpc, unsigned timeout_s)
{
	gint64 deadline = g_get_monotonic_time() + (gint64)timeout_s * G_USEC_PER_SEC;

	while (!publisher_is_ready(rpc->publisher) || !consumer_ready(rpc->consumer)) {
		if (g_get_monotonic_time() > deadline)
			return false;
		g_usleep(READY_POLL_US);
	}
	return true;
}

char *rpc_last_connect_error(struct rpc *rpc)
{
	return publisher_last_connect_error(rpc->publisher);
}
