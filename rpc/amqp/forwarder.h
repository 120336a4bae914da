/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The forwarding connection and its thread: consumes novasnapd's queue beside nova-compute
 * (rpc/beside.h), and publishes to nova-compute's queue whatever is not taken out of it, with all
 * properties, in order. A message is acked only when it was taken, or when the broker has confirmed
 * its copy. The thread does nothing else, and waits only for the broker.
 *
 * A message that cannot be published as it is (with the user_id of another user, with the headers
 * CC or BCC, which would route it to further queues, or larger than the broker now accepts) is
 * rejected: the broker moves it to nova-compute's queue by dead-lettering.
 */
#ifndef NOVASNAP_RPC_AMQP_FORWARDER_H
#define NOVASNAP_RPC_AMQP_FORWARDER_H

#include "rpc/amqp/forwarder-link.h"

struct forwarder;

/* Starts the thread, which consumes nothing yet. The arguments and what they point to must outlive
 * the forwarder. Returns NULL with RPC_ERROR_FAILED. */
struct forwarder *forwarder_start(const struct rpc_config *config, const struct transport_url *url,
				  const struct rpc_beside_names *names,
				  const struct forwarder_ops *ops, GError **error);
/* Forwards what is left in the queue, for at most `grace_s` seconds, ends the thread and frees the
 * forwarder. Messages should go to nova-compute's queue already, or the queue never gets empty. */
void forwarder_stop(struct forwarder *forwarder, unsigned grace_s);

/* Starts or stops consuming; returns without waiting for it. Messages that have arrived are still
 * forwarded. Any thread. */
void forwarder_want(struct forwarder *forwarder, bool wanted);
/* Whether a message of its own goes through the whole way every 30 s, to measure the delay. It
 * would reach nova-compute where requests do not go to novasnapd's queue. Any thread. */
void forwarder_want_canary(struct forwarder *forwarder, bool wanted);

/* For messages that were taken, from any thread. They do nothing if the connection of the delivery
 * is lost: the broker delivers the message again. */
void forwarder_ack(struct forwarder *forwarder, const struct delivery_tag *tag);
/* Acks the message, and waits until the broker has processed that. Returns false if the ack was not
 * sent, or may be lost. */
bool forwarder_ack_surely(struct forwarder *forwarder, const struct delivery_tag *tag);
/* The message is forwarded. */
void forwarder_give_up(struct forwarder *forwarder, const struct delivery_tag *tag);
/* Answers a control message, after all messages before it were acked. Takes ownership of the body
 * of the answer, which is freed with g_free. */
void forwarder_answer(struct forwarder *forwarder, const struct delivery_tag *tag, char *body);

/* Any thread. The caller frees ret_status->problem. */
void forwarder_get_status(struct forwarder *forwarder, struct forwarder_status *ret_status);

/* Shuts down the socket if a write to it has been stuck for too long. Call it about every second
 * from another thread. */
void forwarder_check_stuck_write(struct forwarder *forwarder);

#endif
