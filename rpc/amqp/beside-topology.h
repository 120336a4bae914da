/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is declared beside nova-compute, as lists of declarations: pure functions of the
 * configuration (rpc/beside.h describes the whole). `config` is the cloud's: its control_exchange
 * is the one of all other services. The strings of `names` must outlive a list.
 */
#ifndef NOVASNAP_RPC_AMQP_BESIDE_TOPOLOGY_H
#define NOVASNAP_RPC_AMQP_BESIDE_TOPOLOGY_H

#include "rpc/amqp/declarations.h"
#include "rpc/beside.h"

/* The control exchange; nova-compute's exchange as nova-compute declares it; the bindings outwards
 * and, unless it is the broker of notifications only, inwards. */
GPtrArray *beside_topology_exchange(const struct rpc_config *config,
				    const struct rpc_beside_names *names, bool notifications_only);
/* novasnapd's queue: durable in each layout, since a transient one is gone after a restart of the
 * broker, with all messages; dead-lettered to nova-compute's queue. */
GPtrArray *beside_topology_queue(const struct rpc_config *config,
				 const struct rpc_beside_names *names);
/* The binding of novasnapd's queue for the requests to this host; its end; the end of the one of
 * nova-compute's queue. */
GPtrArray *beside_topology_bind(const struct rpc_config *config,
				const struct rpc_beside_names *names);
GPtrArray *beside_topology_unbind(const struct rpc_config *config,
				  const struct rpc_beside_names *names);
GPtrArray *beside_topology_unbind_nova(const struct rpc_config *config,
				       const struct rpc_beside_names *names);
/* nova-compute's queue, its binding, and the end of novasnapd's. */
GPtrArray *beside_topology_give_back(const struct rpc_config *config,
				     const struct rpc_beside_names *names);

#endif
