/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The acks and requeues that wait for the consumer's thread.
 */
#ifndef NOVASNAP_RPC_AMQP_ANSWERS_H
#define NOVASNAP_RPC_AMQP_ANSWERS_H

#include "rpc/amqp/connection.h"
#include "rpc/amqp/delivery.h"

struct delivery_answers;

struct delivery_answers *delivery_answers_new(void);
void delivery_answers_free(struct delivery_answers *answers);

/* Adds an ack, or with `requeue` the request to return the delivery to its queue. From any thread.
 * Returns whether it is the first one that the thread has not taken: wake the thread. */
bool delivery_answers_add(struct delivery_answers *answers, const struct delivery_tag *tag,
			  bool requeue);

/* For the thread: sends all answers to deliveries of this connection, and drops the others.
 * Requeues to channels for which `holds_requeues` returns true wait for the next call. Returns 0,
 * or -1 with RPC_ERROR_DISCONNECTED. */
int delivery_answers_send(struct delivery_answers *answers, struct broker_connection *connection,
			  unsigned connection_number,
			  bool (*holds_requeues)(amqp_channel_t channel, void *opaque),
			  void *opaque, GError **error);
/* For the thread: the connection is lost, and with it the deliveries. */
void delivery_answers_clear(struct delivery_answers *answers);

#endif
