/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The client part of struct rpc: the reply queue, and the calls that wait for their replies
 * (oslo_messaging._drivers.amqpdriver.ReplyWaiter). Its public functions (rpc_call and others) are
 * declared in rpc.h.
 */
#ifndef NOVASNAP_RPC_CLIENT_H
#define NOVASNAP_RPC_CLIENT_H

#include "rpc/amqp/consumer.h"

struct rpc_client;

/* Chooses a name for its reply queue. `config` must outlive it. */
struct rpc_client *rpc_client_new(const struct rpc_config *config);
/* Accepts NULL. */
void rpc_client_free(struct rpc_client *client);

/* The callbacks of CONSUMER_REPLIES; their `opaque` is the struct rpc. */
extern const struct consumer_channel_ops rpc_client_channel;

/* Passes a reply to the call that waits for it; drops any other reply with a log message. This is
 * rpc_client_channel.deliver. */
void rpc_client_deliver(const struct delivery *delivery, void *opaque);

/* Whether the last call was answered, also with an exception; -1: none was made. */
int rpc_client_answered(const struct rpc_client *client);

#endif
