/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The client's part of struct rpc: the reply queue, and the calls that wait for their replies
 * (oslo_messaging._drivers.amqpdriver.ReplyWaiter). Its public functions (rpc_call and so on) stand
 * in rpc.h.
 */
#ifndef NOVASNAP_RPC_CLIENT_H
#define NOVASNAP_RPC_CLIENT_H

#include "rpc/amqp/consumer.h"

struct rpc_client;

/* With a random name for its reply queue. */
struct rpc_client *rpc_client_new(void);
/* Takes NULL. */
void rpc_client_free(struct rpc_client *client);

/* What the consumer does on CONSUMER_REPLIES; the callbacks' `opaque` is the struct rpc. */
extern const struct consumer_channel_ops rpc_client_channel;

/* Gives a reply to the call that waits for it; logs and drops any other. This is
 * rpc_client_channel.deliver. */
void rpc_client_deliver(const struct delivery *delivery, void *opaque);

#endif
