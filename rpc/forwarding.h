/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The part of struct rpc beside nova-compute. Its public functions are declared in forward.h.
 */
#ifndef NOVASNAP_RPC_FORWARDING_H
#define NOVASNAP_RPC_FORWARDING_H

#include <pthread.h>

#include "rpc/amqp/delivery.h"
#include "rpc/amqp/forwarder.h"
#include "rpc/forward.h"

struct forwarding {
	struct rpc_beside_names *names;
	struct rpc_forward_ops ops;
	struct forwarder *forwarder;

	/* Held while a request is passed to its method. */
	pthread_mutex_t lock;
	/* Guarded by the lock. */
	enum rpc_forward_mode mode;
	unsigned controls; /* that are not answered yet */
	bool serving;
};

void forwarding_free(struct forwarding *forwarding);
/* The lock is held: the thread consumes, and measures the delay, by the mode. */
void forwarding_apply_mode(struct forwarding *forwarding);

/* Whether requests arrive through the forwarding thread. */
bool forwarding_is_on(const struct rpc *rpc);
/* The server is started, paused or stopped: without it everything is forwarded. After it returns
 * with `serving` false, no request is passed to a method. */
void forwarding_serve(struct rpc *rpc, bool serving);
/* Ends the thread, as forwarder_stop. Accepts an rpc without it. */
void forwarding_stop(struct rpc *rpc, unsigned grace_s);

/* Acks a delivery of the server, from the connection that it came from. */
void forwarding_ack(struct rpc *rpc, const struct delivery_tag *tag);
/* The same, and waits until the broker has processed it. Returns false if the ack was not sent, or
 * may be lost. Only with the forwarding thread. */
bool forwarding_ack_surely(struct rpc *rpc, const struct delivery_tag *tag);
/* Returns a delivery of the server: to nova-compute, or to its queue. */
void forwarding_requeue(struct rpc *rpc, const struct delivery_tag *tag);

#endif
