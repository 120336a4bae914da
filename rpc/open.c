/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opens and closes struct rpc: assembles its parts, and sets the consumer's callbacks.
 */
#include "rpc/amqp/consumer.h"
#include "rpc/amqp/publisher.h"
#include "rpc/amqp/transport-url.h"
#include "rpc/client.h"
#include "rpc/forwarding.h"
#include "rpc/handle.h"
#include "rpc/inflight.h"
#include "rpc/listener.h"
#include "rpc/reply.h"
#include "rpc/served-topics.h"
#include "rpc/server.h"
#include "rpc/unhandled.h"

#define READY_POLL_US (20 * 1000)

static void rpc_free(struct rpc *rpc)
{
	rpc_listener_free(rpc->listener);
	rpc_client_free(rpc->client);
	rpc_server_free(rpc->server);
	served_topics_free(rpc->topics);
	inflight_free(rpc->inflight);
	transport_url_free(rpc->url);
	transport_url_free(rpc->notifier_url);
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
	if (rpc->notifier != rpc->publisher)
		publisher_check_stuck_write(rpc->notifier);
	return inflight_send_heartbeats(rpc->inflight, send_heartbeat, rpc);
}

/* Starts the publishing connections: one for all messages, and one for notifications if they have
 * another broker. */
static int start_publishers(struct rpc *rpc, GError **error)
{
	const struct rpc_config *notifications = rpc->config->notifications;

	rpc->publisher = publisher_start(rpc->config, rpc->url, error);
	rpc->notifier = rpc->publisher;
	if (!rpc->publisher || !notifications)
		return rpc->publisher ? 0 : -1;
	rpc->notifier = publisher_start(notifications, rpc->notifier_url, error);
	if (rpc->notifier)
		return 0;
	publisher_stop(rpc->publisher, 0);
	return -1;
}

static void stop_publishers(struct rpc *rpc, unsigned grace_s)
{
	gint64 until = g_get_monotonic_time() + (gint64)grace_s * G_USEC_PER_SEC;
	gint64 left_s;

	publisher_stop(rpc->publisher, grace_s);
	left_s = MAX(0, until - g_get_monotonic_time()) / G_USEC_PER_SEC;
	if (rpc->notifier != rpc->publisher)
		publisher_stop(rpc->notifier, (unsigned)left_s);
}

static int parse_urls(struct rpc *rpc, GError **error)
{
	const struct rpc_config *notifications = rpc->config->notifications;

	rpc->url = transport_url_parse(rpc->config->transport_url, error);
	if (!rpc->url)
		return -1;
	if (!notifications)
		return 0;
	rpc->notifier_url = transport_url_parse(notifications->transport_url, error);
	if (rpc->notifier_url)
		return 0;
	g_prefix_error(error, "[oslo_messaging_notifications]");
	return -1;
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
	if (parse_urls(rpc, error) < 0)
		goto failed;
	rpc->inflight = inflight_new();
	rpc->server = rpc_server_new();
	rpc->topics = served_topics_new(config);
	rpc->client = rpc_client_new(config);
	rpc->listener = rpc_listener_new();
	if (start_publishers(rpc, error) < 0)
		goto failed;
	rpc->consumer = consumer_start(config, rpc->url, &ops, error);
	if (rpc->consumer)
		return rpc;
	stop_publishers(rpc, 0);

failed:
	rpc_free(rpc);
	return NULL;
}

void rpc_close(struct rpc *rpc, unsigned grace_s)
{
	if (!rpc)
		return;
	forwarding_stop(rpc, grace_s);
	/* Moved messages are acked by the consumer. */
	unhandled_stop(rpc, grace_s);
	/* Before the publisher, because the consumer's tick uses it. */
	consumer_stop(rpc->consumer);
	stop_publishers(rpc, grace_s);
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
