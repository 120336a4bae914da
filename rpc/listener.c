/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Receives copies of other services' messages, through a separate queue.
 */
#include "rpc/listener.h"

#include "rpc/amqp/declarations.h"
#include "rpc/amqp/topology.h"
#include "rpc/content.h"
#include "rpc/handle.h"
#include "rpc/json.h"

struct rpc_listener {
	/* Written once, before the channel is wanted. `keys` is NULL until then. */
	char **keys;
	void (*on_message)(const char *event_type, const cJSON *message, void *opaque);
	void *opaque;
};

struct rpc_listener *rpc_listener_new(void)
{
	return g_new0(struct rpc_listener, 1);
}

void rpc_listener_free(struct rpc_listener *listener)
{
	if (!listener)
		return;
	g_strfreev(listener->keys);
	g_free(listener);
}

static enum broker_result subscribe_listener(struct broker_connection *connection,
					     amqp_channel_t channel, void *opaque, GError **error)
{
	const struct rpc *rpc = opaque;
	struct rpc_listener *listener = rpc->listener;
	const char *const *keys = (const char *const *)listener->keys;
	g_autoptr(GPtrArray) exchange = declarations_of_exchange(rpc->config);
	enum broker_result result;

	result = topology_declare(connection, channel, exchange, error);
	if (result == BROKER_OK)
		result = topology_listen(connection, channel, rpc->config->control_exchange, keys,
					 error);
	return result;
}

static void deliver_to_listener(const struct delivery *delivery, void *opaque)
{
	const struct rpc *rpc = opaque;
	const struct rpc_listener *listener = rpc->listener;
	g_autoptr(GError) error = NULL;
	struct content content;
	const char *event_type;
	cJSON *message;

	message = content_decode(delivery, &content, &error);
	content_clear(&content);
	if (!message) {
		g_info("skipping a message: %s", error->message);
		return;
	}
	event_type = json_string(message, "event_type");
	listener->on_message(event_type ? event_type : "", message, listener->opaque);
	cJSON_Delete(message);
}

const struct consumer_channel_ops rpc_listener_channel = {
	.subscribe = subscribe_listener,
	.deliver = deliver_to_listener,
};

int rpc_listen(struct rpc *rpc, const char *const *keys,
	       void (*on_message)(const char *event_type, const cJSON *message, void *opaque),
	       void *opaque, GError **error)
{
	struct rpc_listener *listener = rpc->listener;

	if (listener->keys) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_FAILED,
				    "a listener has already been started");
		return -1;
	}
	listener->on_message = on_message;
	listener->opaque = opaque;
	listener->keys = g_strdupv((char **)keys);
	consumer_want(rpc->consumer, CONSUMER_LISTENER, true);
	return 0;
}
