/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opens and closes struct rpc: assembles its parts, and sets the consumer's callbacks.
 */
#include "rpc/amqp/consumer.h"
#include "rpc/amqp/publisher.h"
#include "rpc/amqp/transport-url.h"
#include "rpc/client.h"
#include "rpc/handle.h"
#include "rpc/inflight.h"
#include "rpc/listener.h"
#include "rpc/reply.h"
#include "rpc/server.h"

#define READY_POLL_US (20 * 1000)

static void rpc_free(struct rpc *rpc)
{
	rpc_listener_free(rpc->listener);
	rpc_client_free(rpc->client);
	rpc_server_free(rpc->server);
	inflight_free(rpc->inflight);
	transport_url_free(rpc->url);
	g_free(rpc);
}

static void send_heartbeat(const char *reply_queue, const char *msg_id, void *opaque)
{
	const struct rpc *rpc = opaque;

	rpc_reply_send_heartbeat(rpc->publisher, reply_queue, msg_id);
}

/* Runs in the consumer's thread, for work that must not wait for a job or a stuck write. */
static gint64 rpc_tick(void *opaque)
{
	struct rpc *rpc = opaque;

	publisher_check_stuck_write(rpc->publisher);
	return inflight_send_heartbeats(rpc->inflight, send_heartbeat, rpc);
}

struct rpc *rpc_open(const struct rpc_config *config, GError **error)
{
	struct rpc *rpc = g_new0(struct rpc, 1);
	const struct consumer_ops ops = {
		.channels =
			{
				[CONSUMER_SERVER] = &rpc_server_channel,
				[CONSUMER_REPLIES] = &rpc_client_channel,
				[CONSUMER_LISTENER] = &rpc_listener_channel,
			},
		.tick = rpc_tick,
		.opaque = rpc,
	};

	/* GLib registers an error domain at its first use, which is not thread-safe. */
	(void)rpc_error_quark();
	rpc->config = config;
	rpc->url = transport_url_parse(config->transport_url, error);
	if (!rpc->url)
		goto failed;
	rpc->inflight = inflight_new();
	rpc->server = rpc_server_new(config);
	rpc->client = rpc_client_new();
	rpc->listener = rpc_listener_new();
	rpc->publisher = publisher_start(config, rpc->url, error);
	if (!rpc->publisher)
		goto failed;
	rpc->consumer = consumer_start(config, rpc->url, &ops, error);
	if (rpc->consumer)
		return rpc;
	publisher_stop(rpc->publisher, 0);

failed:
	rpc_free(rpc);
	return NULL;
}

void rpc_close(struct rpc *rpc, unsigned grace_s)
{
	if (!rpc)
		return;
	/* The consumer first, because its tick uses the publisher. */
	consumer_stop(rpc->consumer);
	publisher_stop(rpc->publisher, grace_s);
	rpc_free(rpc);
}

bool rpc_wait_ready(struct rpc *rpc, unsigned timeout_s)
{
	gint64 deadline = g_get_monotonic_time() + (gint64)timeout_s * G_USEC_PER_SEC;

	while (!publisher_is_ready(rpc->publisher) || !consumer_is_ready(rpc->consumer)) {
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
