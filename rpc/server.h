/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server's part of struct rpc. Its public functions (rpc_server_start and so on) stand in
 * rpc.h.
 */
#ifndef NOVASNAP_RPC_SERVER_H
#define NOVASNAP_RPC_SERVER_H

#include "rpc/amqp/consumer.h"
#include "rpc/rpc.h"

struct rpc_server;

/* A server that is stopped, with a random name for its queue on the fanout exchange. */
struct rpc_server *rpc_server_new(const struct rpc_config *config);
/* Takes NULL. */
void rpc_server_free(struct rpc_server *server);

/* What the consumer does on CONSUMER_SERVER; the callbacks' `opaque` is the struct rpc. */
extern const struct consumer_channel_ops rpc_server_channel;

/* Handles a message that was delivered: drops a duplicate, acks and keeps one that cannot be
 * decoded (rejected.h), refuses an unknown method or version, and hands any other request to its
 * method. This is rpc_server_channel.deliver. */
void rpc_server_deliver(const struct delivery *delivery, void *opaque);

#endif
