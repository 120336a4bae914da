/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * struct rpc, which rpc_open assembles from the parts of this room. For the files that implement
 * the functions of rpc.h.
 */
#ifndef NOVASNAP_RPC_HANDLE_H
#define NOVASNAP_RPC_HANDLE_H

#include <stdatomic.h>

#include "rpc/rpc.h"

/* All pointers but `mover` and `forwarding` are set before rpc_open returns and do not change until
 * rpc_close. Only `consumer` is set after the consumer's thread has started; before that, no
 * callback except the tick is called. */
struct rpc {
	const struct rpc_config *config;
	struct transport_url *url;
	struct transport_url *notifier_url; /* NULL: notifications have no broker of their own */
	struct publisher *publisher;
	struct publisher *notifier; /* for notifications; `publisher`, or one of its own */
	struct consumer *consumer;
	struct inflight *inflight;
	struct rpc_server *server;
	struct served_topics *topics; /* of the server */
	/* Of unhandled messages; NULL: there is no queue for them. Set by the first
	 * rpc_server_start, before the server consumes. */
	struct mover *mover;
	struct rpc_client *client;
	struct rpc_listener *listener;
	/* Set by rpc_forward_start; NULL: the server is exclusive. */
	struct forwarding *forwarding;
	/* The broker denies transient queues that are not exclusive. */
	atomic_bool transient_denied;
	atomic_uint rejected;	 /* see rpc_rejected_count */
	atomic_uint unsupported; /* see rpc_unsupported_count */
};

#endif
