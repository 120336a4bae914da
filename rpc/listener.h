/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The listener part of struct rpc. rpc_listen, its public function, is declared in rpc.h.
 */
#ifndef NOVASNAP_RPC_LISTENER_H
#define NOVASNAP_RPC_LISTENER_H

#include "rpc/amqp/consumer.h"

struct rpc_listener;

struct rpc_listener *rpc_listener_new(void);
/* Accepts NULL. */
void rpc_listener_free(struct rpc_listener *listener);

/* The callbacks of CONSUMER_LISTENER; their `opaque` is the struct rpc. */
extern const struct consumer_channel_ops rpc_listener_channel;

#endif
