/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Moves the casts that this server does not serve to rpc_config.unhandled_queue, byte for byte, and
 * acks each when the broker has confirmed it. Does nothing if there is no such queue.
 */
#ifndef NOVASNAP_RPC_UNHANDLED_H
#define NOVASNAP_RPC_UNHANDLED_H

#include "rpc/amqp/delivery.h"
#include "rpc/rpc.h"

/* Starts the thread that moves messages, once. Returns 0, or -1 with an error. */
int unhandled_start(struct rpc *rpc, GError **error);

/* Whether a delivered message can be moved: there is a queue, and the delivery is whole. */
bool unhandled_can_move(const struct rpc *rpc, const struct delivery *delivery);

/* Moves the message of a request, whose ownership is taken. While the queue takes nothing, some
 * messages are tried again, and the others are rejected as by rpc_request_reject: unacked ones
 * would keep those from this server that it serves. */
void unhandled_move(struct rpc *rpc, struct rpc_request *request, const struct delivery *delivery);
/* The same for a message that cannot be decoded. `tag`: its delivery's, with the position noted. */
void unhandled_move_unreadable(struct rpc *rpc, const struct delivery *delivery,
			       const struct delivery_tag *tag);

/* Ends the thread: moves what waits, for at most `grace_s` seconds; the broker keeps the rest. */
void unhandled_stop(struct rpc *rpc, unsigned grace_s);

#endif
