/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server part of struct rpc. Its public functions (rpc_server_start and others) are declared in
 * rpc.h.
 */
#ifndef NOVASNAP_RPC_SERVER_H
#define NOVASNAP_RPC_SERVER_H

#include "rpc/amqp/consumer.h"
#include "rpc/rpc.h"

struct rpc_server;

/* Creates a stopped server. */
struct rpc_server *rpc_server_new(void);
/* Accepts NULL. */
void rpc_server_free(struct rpc_server *server);

/* The callbacks of CONSUMER_SERVER; their `opaque` is the struct rpc. */
extern const struct consumer_channel_ops rpc_server_channel;

/* Handles a delivered message: drops a duplicate, acks and keeps a message that cannot be decoded
 * (rejected.h), rejects an unknown method or version, and passes any other request to its method.
 * This is rpc_server_channel.deliver. */
void rpc_server_deliver(const struct delivery *delivery, void *opaque);

/* Whether the server has the method and serves the version of a decoded message. */
bool rpc_server_can_serve(const struct rpc *rpc, const cJSON *message);
/* Handles a decoded message as rpc_server_deliver, and takes ownership of it. */
void rpc_server_take(struct rpc *rpc, const struct delivery *delivery,
		     const struct delivery_tag *tag, cJSON *message);

#endif
