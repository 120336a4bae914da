/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See publisher-topology.h.
 */
#include "rpc/amqp/publisher-topology.h"

#include "rpc/amqp/topology.h"

struct publisher_topology {
	const struct rpc_config *config;
	GHashTable *queues; /* names of the queues to declare on each connection */
	/* The broker denies such queues. Each one would cost the connection. */
	bool denied;
};

struct publisher_topology *publisher_topology_new(const struct rpc_config *config)
{
	struct publisher_topology *topology = g_new0(struct publisher_topology, 1);

	topology->config = config;
	topology->queues = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	return topology;
}

void publisher_topology_free(struct publisher_topology *topology)
{
	g_hash_table_unref(topology->queues);
	g_free(topology);
}

/* Takes ownership of `refused`. */
static int log_refusal(enum broker_result result, GError *refused, GError **error)
{
	if (result == BROKER_LOST) {
		g_propagate_error(error, refused);
		return -1;
	}
	if (result != BROKER_OK)
		g_warning("%s", refused->message);
	g_clear_error(&refused);
	return 0;
}

static int declare_queue(struct publisher_topology *topology, struct broker_connection *connection,
			 amqp_channel_t channel, const char *queue, GError **error)
{
	g_autoptr(GPtrArray) declarations = declarations_of_notifications(topology->config, queue);
	GError *refused = NULL;
	enum broker_result result = topology_declare(connection, channel, declarations, &refused);

	topology->denied = result == BROKER_LOST && broker_denied_transient(connection);
	return log_refusal(result, refused, error);
}

int publisher_topology_declare(struct publisher_topology *topology,
			       struct broker_connection *connection, amqp_channel_t channel,
			       GError **error)
{
	g_autoptr(GPtrArray) exchange = declarations_of_exchange(topology->config);
	GError *refused = NULL;
	enum broker_result result;
	GHashTableIter iter;
	gpointer queue;

	if (topology->config->declares_nothing)
		return 0;
	result = topology_declare(connection, channel, exchange, &refused);
	if (log_refusal(result, refused, error) < 0)
		return -1;
	g_hash_table_iter_init(&iter, topology->queues);
	while (!topology->denied && g_hash_table_iter_next(&iter, &queue, NULL)) {
		if (declare_queue(topology, connection, channel, queue, error) < 0)
			return -1;
	}
	return 0;
}

int publisher_topology_add_queue(struct publisher_topology *topology,
				 struct broker_connection *connection, amqp_channel_t channel,
				 const char *queue, GError **error)
{
	if (topology->denied || g_hash_table_contains(topology->queues, queue))
		return 0;
	/* Add it first: a blocked broker does not answer on a connection that has published. It
	 * answers on the next connection, where all queues in the table are declared. */
	g_hash_table_add(topology->queues, g_strdup(queue));
	return declare_queue(topology, connection, channel, queue, error);
}
