/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the publishing connection declares: the control exchange, and the queues of notifications,
 * as oslo's notifier does. What the broker refuses is only logged: replies need neither, a message
 * for a missing exchange fails alone, and notifications still reach listeners with queues of their
 * own. If the broker denies the queues, they are left out. Used by the publishing thread only.
 */
#ifndef NOVASNAP_RPC_AMQP_PUBLISHER_TOPOLOGY_H
#define NOVASNAP_RPC_AMQP_PUBLISHER_TOPOLOGY_H

#include "rpc/amqp/connection.h"

struct publisher_topology;

/* `config` must outlive it. */
struct publisher_topology *publisher_topology_new(const struct rpc_config *config);
void publisher_topology_free(struct publisher_topology *topology);

/* On a new connection: declares the exchange, and the queues of earlier connections. Returns 0, or
 * -1 with an error if the connection is lost. */
int publisher_topology_declare(struct publisher_topology *topology,
			       struct broker_connection *connection, amqp_channel_t channel,
			       GError **error);
/* Declares a queue unless it was declared on this connection. Returns 0, or -1 with an error if the
 * connection is lost. */
int publisher_topology_add_queue(struct publisher_topology *topology,
				 struct broker_connection *connection, amqp_channel_t channel,
				 const char *queue, GError **error);

#endif
