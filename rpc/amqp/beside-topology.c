/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See beside-topology.h.
 */
#include "rpc/amqp/beside-topology.h"

#include "rpc/amqp/declaration.h"

/* As the key of a binding: all messages. */
#define ANY_KEY "#"

/* Binds one exchange to another. */
static void add_route(GPtrArray *list, const char *from, const char *to, const char *key)
{
	declaration_list_bind(list, DECLARATION_EXCHANGE_BINDING, to, from, key);
}

/* A nova-compute from 2025 on also has the alternative topic; for an older one the bindings are
 * without effect. */
static void add_inwards(GPtrArray *list, const struct rpc_config *config,
			const struct rpc_beside_names *names)
{
	g_autofree char *alt_host = NULL;

	add_route(list, config->control_exchange, names->exchange, config->topic);
	if (!config->alt_topic)
		return;
	alt_host = g_strdup_printf("%s.%s", config->alt_topic, config->host);
	add_route(list, config->control_exchange, names->exchange, config->alt_topic);
	add_route(list, config->control_exchange, names->exchange, alt_host);
}

GPtrArray *beside_topology_exchange(const struct rpc_config *config,
				    const struct rpc_beside_names *names, bool notifications_only)
{
	GPtrArray *list = declarations_of_exchange(config);
	struct rpc_config nova_compute = *config;
	GPtrArray *exchange;

	/* As nova-compute declares it with this option. */
	nova_compute.control_exchange = names->exchange;
	exchange = declarations_of_exchange(&nova_compute);
	((struct declaration *)g_ptr_array_index(exchange, 0))->shared = false;
	g_ptr_array_extend_and_steal(list, exchange);
	add_route(list, names->exchange, config->control_exchange, ANY_KEY);
	if (!notifications_only)
		add_inwards(list, config, names);
	return list;
}

/* A classic queue refuses the dead-letter strategy, and dead-letters a message at most once. The
 * strategy needs reject-publish: without it a quorum queue loses what it cannot deliver. */
GPtrArray *beside_topology_queue(const struct rpc_config *config,
				 const struct rpc_beside_names *names)
{
	GPtrArray *list = declaration_list_new();
	struct declaration *queue = declaration_list_add(list, DECLARATION_QUEUE, names->queue);

	queue->durable = true;
	if (config->quorum) {
		declaration_add_text(queue, "x-queue-type", "quorum");
		declaration_add_text(queue, "x-dead-letter-strategy", "at-least-once");
		declaration_add_text(queue, "x-overflow", "reject-publish");
	}
	declaration_add_number(queue, "x-message-ttl", RPC_BESIDE_TTL_MS);
	declaration_add_text(queue, "x-dead-letter-exchange", "");
	declaration_add_text(queue, "x-dead-letter-routing-key", names->nova_queue);
	return list;
}

/* A list of one binding, or of the end of one, for the requests to this host. */
static GPtrArray *request_binding(const struct rpc_config *config,
				  const struct rpc_beside_names *names, enum declaration_kind kind,
				  const char *queue)
{
	GPtrArray *list = declaration_list_new();

	declaration_list_bind(list, kind, queue, config->control_exchange, names->nova_queue);
	return list;
}

GPtrArray *beside_topology_bind(const struct rpc_config *config,
				const struct rpc_beside_names *names)
{
	return request_binding(config, names, DECLARATION_BINDING, names->queue);
}

GPtrArray *beside_topology_unbind(const struct rpc_config *config,
				  const struct rpc_beside_names *names)
{
	return request_binding(config, names, DECLARATION_UNBINDING, names->queue);
}

GPtrArray *beside_topology_unbind_nova(const struct rpc_config *config,
				       const struct rpc_beside_names *names)
{
	return request_binding(config, names, DECLARATION_UNBINDING, names->nova_queue);
}

GPtrArray *beside_topology_give_back(const struct rpc_config *config,
				     const struct rpc_beside_names *names)
{
	/* A topic's queue and its binding. */
	GPtrArray *list = declarations_of_notifications(config, names->nova_queue);

	g_ptr_array_extend_and_steal(list, beside_topology_unbind(config, names));
	return list;
}
