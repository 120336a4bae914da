/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Beside nova-compute: the exchanges, queues and bindings that give this host's requests to
 * novasnapd first, while a nova-compute serves the same host.
 *
 * For the host H, the topic "compute" and the control exchange "nova":
 * - nova-compute is configured with the control exchange `nova.H`. All that it publishes goes on
 *   to `nova` (key "#"), and what is for any compute host comes back by the keys "compute",
 *   "compute-alt" and "compute-alt.H";
 * - requests to this host have the key "compute.H". While they are taken, they go from `nova` to
 *   the durable queue `novasnap.H`. What nobody takes from it for RPC_BESIDE_TTL_MS goes to
 *   nova-compute's queue `compute.H`. While they are given back, they go from `nova` to
 *   `compute.H`, as without novasnapd.
 *
 * What a message of `novasnap.H` is, by its properties:
 * - `exchange` is `nova.H`: nova-compute published it, and has it in its own queue. novasnapd
 *   acks it and does nothing else;
 * - `type` is one of RPC_BESIDE_TYPE_*: a control message, see below;
 * - any other one is a request to this host.
 *
 * A control message comes from `novasnap beside`. Its body is a cast of nova's harmless `ping`,
 * for the case that it reaches nova-compute by dead-lettering. novasnapd never forwards it. It
 * does what the type says, publishes an answer on the default exchange with the key `reply_to`
 * (not mandatory), and acks the message. The answer has the content type "application/json"; its
 * body is a JSON object with these members:
 * - "id": string, the `message_id`;
 * - "intercepting": bool, after this message;
 * - "pid": number;
 * - "delay_ms": number: the last measured delay of the hop; null: not measured yet.
 * All messages that stand before a control message in the queue are taken before it is answered.
 *
 * All functions open a connection of their own and block. Each wait for the broker has a limit:
 * 10 s to connect and 20 s for an answer. The first one that is exceeded ends the function. They
 * may be called from any thread, and again after any of them failed or was killed: each brings
 * the broker from any state into the one that its name says. Functions that return int return 0,
 * or -1 with an RPC_ERROR: RPC_ERROR_CONFIG (a name is over 255 bytes), RPC_ERROR_DISCONNECTED,
 * RPC_ERROR_REFUSED (the user may not, or an exchange or queue exists with other arguments),
 * RPC_ERROR_FAILED.
 */
#ifndef NOVASNAP_RPC_BESIDE_H
#define NOVASNAP_RPC_BESIDE_H

#include "rpc/rpc.h"

/* How long a message may wait in novasnapd's queue. A queue keeps it for good, so it is no option:
 * another value would be refused by each broker that has the queue. */
#define RPC_BESIDE_TTL_MS 10000

/* From now on novasnapd takes its own methods out: what follows in the queue is in no other one.
 * novasnapd checks that `message_id` is the id in the state file (agent/beside/state.h), writes
 * it to its own file, and only then answers and acks. If it is another id, novasnapd forwards
 * everything as before, and answers so. */
#define RPC_BESIDE_TYPE_INTERCEPT "novasnap.beside.intercept"
/* From now on novasnapd forwards everything. It removes its own file, then answers and acks. */
#define RPC_BESIDE_TYPE_PASS "novasnap.beside.pass"
/* Only the answer: shows that the forwarding thread makes progress. */
#define RPC_BESIDE_TYPE_ECHO "novasnap.beside.echo"

struct rpc_beside_names {
	char *exchange;	  /* nova-compute's control exchange: "nova.H" */
	char *queue;	  /* novasnapd's queue: "novasnap.H" */
	char *nova_queue; /* nova-compute's queue: "compute.H" */
};
/* Returns the names of this configuration, which the caller frees. NULL with RPC_ERROR_CONFIG. */
struct rpc_beside_names *rpc_beside_names_new(const struct rpc_config *config, GError **error);
void rpc_beside_names_free(struct rpc_beside_names *names); /* accepts NULL */
typedef struct rpc_beside_names rpc_beside_names_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(rpc_beside_names_t, rpc_beside_names_free)

/* Makes what is missing, also at the broker of notifications: the exchange, its bindings, and
 * novasnapd's queue. No request takes another way after it. */
int rpc_beside_make(const struct rpc_config *config, GError **error);
/* Requests go to novasnapd's queue: makes all that is missing, binds the queue, and then unbinds
 * nova-compute's. */
int rpc_beside_take(const struct rpc_config *config, GError **error);
/* Requests go to nova-compute's queue: declares it as nova-compute does, binds it, and then unbinds
 * novasnapd's. What is in novasnapd's queue stays there, for novasnapd or for its TTL. */
int rpc_beside_give_back(const struct rpc_config *config, GError **error);
/* Deletes novasnapd's queue, which must be empty and without a consumer (else RPC_ERROR_FAILED),
 * and the exchange unless it is to be kept. Must not be called while requests are taken. A
 * nova-compute that uses the exchange stops working without it. */
int rpc_beside_remove(const struct rpc_config *config, bool keep_exchange, GError **error);

struct rpc_beside_answer {
	bool intercepting;
	int64_t pid;
	double delay_ms; /* negative: not measured yet */
};
/* Sends a control message into novasnapd's queue, and waits for its answer for at most `timeout_s`
 * seconds. `id`: the marker's id; NULL: a random one. Fails with RPC_ERROR_TIMEOUT without an
 * answer, or with RPC_ERROR_NOT_CONFIRMED if the queue does not exist. */
int rpc_beside_control(const struct rpc_config *config, const char *type, const char *id,
		       unsigned timeout_s, struct rpc_beside_answer *ret_answer, GError **error);

#endif
