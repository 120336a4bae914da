/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is at the broker beside nova-compute (beside.h), and what nova-compute does. AMQP cannot
 * list bindings, so they are tried out with nova's own `ping` (nova/baserpc.py), and nova-compute's
 * configuration is seen by what it publishes. Nothing is changed. Errors are those of beside.h.
 */
#ifndef NOVASNAP_RPC_BESIDE_LOOK_H
#define NOVASNAP_RPC_BESIDE_LOOK_H

#include "rpc/beside.h"

struct rpc_beside_queue {
	bool exists;
	unsigned messages; /* that no consumer has yet */
	unsigned consumers;
};

struct rpc_beside_objects {
	bool exchange;		    /* nova-compute's exchange exists */
	bool notification_exchange; /* also at the broker of notifications; true if that is the same
				     */
	struct rpc_beside_queue queue;	    /* novasnapd's */
	struct rpc_beside_queue nova_queue; /* nova-compute's */
};
int rpc_beside_look(const struct rpc_config *config, struct rpc_beside_objects *ret_objects,
		    GError **error);

enum rpc_beside_way {
	RPC_BESIDE_DIRECT,   /* straight into nova-compute's queue */
	RPC_BESIDE_REQUESTS, /* the way of requests: by the control exchange */
};

struct rpc_beside_ping {
	bool returned; /* no queue took it */
	/* How often nova-compute answered. Two answers by the way of requests: its queue and
	 * novasnapd's both get each request. */
	unsigned answers;
	double first_ms; /* until the first answer */
};
/* Sends nova-compute a ping that oslo.messaging does not take for a duplicate, and waits for at
 * most `timeout_s` seconds for the first answer, and a second longer for another one by the way of
 * requests. */
int rpc_beside_ping(const struct rpc_config *config, enum rpc_beside_way way, unsigned timeout_s,
		    struct rpc_beside_ping *ret_ping, GError **error);

/* By what nova-compute has published. */
enum rpc_beside_evidence {
	RPC_BESIDE_UNSEEN,     /* nothing that tells */
	RPC_BESIDE_FOLLOWS,    /* something on its own exchange */
	RPC_BESIDE_OLD_CONFIG, /* the report of its state on the control exchange */
};
/* Listens to what is sent to nova-conductor for at most `timeout_s` seconds, until it sees
 * `wanted`; RPC_BESIDE_UNSEEN: either. Returns what was seen last. nova-compute reports its state
 * each [DEFAULT]report_interval; with another servicegroup_driver than db it does not. */
int rpc_beside_observe(const struct rpc_config *config, enum rpc_beside_evidence wanted,
		       unsigned timeout_s, enum rpc_beside_evidence *ret_seen, GError **error);

#endif
