/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The consuming connection and its thread. Each channel has its receiver, by a table of callbacks.
 * The thread publishes nothing but acks, so it never blocks for long; it connects again whenever
 * the connection is lost, and then consumes again what is wanted.
 */
#ifndef NOVASNAP_RPC_AMQP_CONSUMER_H
#define NOVASNAP_RPC_AMQP_CONSUMER_H

#include "rpc/amqp/connection.h"
#include "rpc/amqp/delivery.h"
#include "rpc/amqp/transport-url.h"
#include "rpc/rpc.h"

struct consumer;

/* The channels by their AMQP number, which begins at 1. */
enum consumer_channel {
	CONSUMER_SERVER = 1, /* requests to our server */
	CONSUMER_REPLIES,    /* replies to our calls */
	CONSUMER_LISTENER,   /* copies of other services' messages */
	CONSUMER_CHANNELS,
};

/* What is done on one channel. All callbacks run in the consumer's thread and must not wait for
 * anything but the broker. */
struct consumer_channel_ops {
	/* Declares the queues and begins to consume them on the channel, which is open. With
	 * anything but BROKER_OK, and an error, the consumer connects again. */
	enum broker_result (*subscribe)(struct broker_connection *connection,
					amqp_channel_t channel, void *opaque, GError **error);
	/* Ends consuming. The channel stays open, for the acks that are still owed. NULL for a
	 * channel that is never unwanted again. */
	enum broker_result (*unsubscribe)(struct broker_connection *connection,
					  amqp_channel_t channel, void *opaque, GError **error);
	/* Receives a message. */
	void (*deliver)(const struct delivery *delivery, void *opaque);
};

struct consumer_ops {
	const struct consumer_channel_ops *channels[CONSUMER_CHANNELS]; /* the first is not used */
	/* Called at least every second. Returns when it is to be called next, monotonic us. */
	gint64 (*tick)(void *opaque);
	void *opaque; /* of all callbacks */
};

/* Starts the thread, and returns before it has connected. `config`, `url`, `ops` and what they
 * point to must live as long as the consumer. Returns NULL with RPC_ERROR_FAILED. */
struct consumer *consumer_start(const struct rpc_config *config, const struct transport_url *url,
				const struct consumer_ops *ops, GError **error);
/* Sends the acks that are waiting, closes the connection, ends the thread and frees the consumer.
 */
void consumer_stop(struct consumer *consumer);

/* Whether the connection is established and all channels are as they are wanted. */
bool consumer_is_ready(struct consumer *consumer);

/* From any thread: from now on this channel is consumed, or is not. A message that comes while it
 * is not wanted goes back to its queue. */
void consumer_want(struct consumer *consumer, enum consumer_channel channel, bool wanted);
/* Waits until the channel is consumed, or is not any more. Returns false after `deadline`
 * (monotonic us). */
bool consumer_wait(struct consumer *consumer, enum consumer_channel channel, bool consumed,
		   gint64 deadline);

/* From any thread: acks a delivery. Does nothing when its connection is lost: the broker then
 * delivers the message again. */
void consumer_ack(struct consumer *consumer, const struct delivery_tag *tag);

#endif
