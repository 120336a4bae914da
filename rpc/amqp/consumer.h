/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The consuming connection and its thread. A table of callbacks gives the receiver of each channel.
 * The thread publishes only acks, so it never blocks for long. It reconnects whenever the
 * connection is lost, and then consumes again.
 */
#ifndef NOVASNAP_RPC_AMQP_CONSUMER_H
#define NOVASNAP_RPC_AMQP_CONSUMER_H

#include "rpc/amqp/connection.h"
#include "rpc/amqp/delivery.h"
#include "rpc/amqp/transport-url.h"
#include "rpc/rpc.h"

struct consumer;

/* The channels by their AMQP number, which starts at 1. */
enum consumer_channel {
	CONSUMER_SERVER = 1, /* requests to this server */
	CONSUMER_REPLIES,    /* replies to this process's calls */
	CONSUMER_LISTENER,   /* copies of other services' messages */
	CONSUMER_CHANNELS,
};

/* The callbacks of one channel. They run in the consumer's thread and must not wait for anything
 * except the broker. */
struct consumer_channel_ops {
	/* Declares the queues and starts consuming them on the channel, which is open. After
	 * BROKER_CHANNEL_CLOSED (with an error) the channel is open and must have no consumers:
	 * only this channel is tried again, at once after a 404 and then after a growing pause.
	 * After BROKER_LOST the consumer reconnects. */
	enum broker_result (*subscribe)(struct broker_connection *connection,
					amqp_channel_t channel, void *opaque, GError **error);
	/* Stops consuming. The channel stays open for outstanding acks. NULL if the channel, once
	 * wanted, stays wanted. */
	enum broker_result (*unsubscribe)(struct broker_connection *connection,
					  amqp_channel_t channel, void *opaque, GError **error);
	/* The broker has ended a consumer, because its queue was deleted or cannot be used. The
	 * connection is given up then. May be NULL. */
	void (*cancelled)(const char *consumer, void *opaque);
	/* The connection is about to be closed. The channel is open. Must not wait. May be NULL. */
	void (*leave)(struct broker_connection *connection, amqp_channel_t channel, void *opaque);
	/* Receives a message. */
	void (*deliver)(const struct delivery *delivery, void *opaque);
};

struct consumer_ops {
	const struct consumer_channel_ops *channels[CONSUMER_CHANNELS]; /* the first is not used */
	/* Called at least every second. Returns the time of its next call, monotonic us. */
	gint64 (*tick)(void *opaque);
	void *opaque; /* argument of all callbacks */
};

/* Starts the thread, and returns before it has connected. `config`, `url`, `ops` and the data they
 * point to must outlive the consumer. Returns NULL with RPC_ERROR_FAILED. */
struct consumer *consumer_start(const struct rpc_config *config, const struct transport_url *url,
				const struct consumer_ops *ops, GError **error);
/* Sends the pending acks, closes the connection, ends the thread and frees the consumer. */
void consumer_stop(struct consumer *consumer);

/* Whether the connection is established and all wanted channels are consumed. */
bool consumer_is_ready(struct consumer *consumer);
/* The time of the thread's last turn, monotonic us. */
gint64 consumer_turned_at(const struct consumer *consumer);

/* Starts or stops consuming a channel; returns without waiting for it. From any thread. A message
 * that arrives while the channel is not wanted is requeued, as by consumer_requeue. */
void consumer_want(struct consumer *consumer, enum consumer_channel channel, bool wanted);
/* Waits until the channel is consumed, or until it is not (`consumed` false). Returns false after
 * `deadline` (monotonic us). */
bool consumer_wait(struct consumer *consumer, enum consumer_channel channel, bool consumed,
		   gint64 deadline);
/* From now on consumer_wait returns at once. From any thread. */
void consumer_end_waits(struct consumer *consumer);

/* Acks a delivery. From any thread. Does nothing if the delivery's connection is lost: the broker
 * then delivers the message again. */
void consumer_ack(struct consumer *consumer, const struct delivery_tag *tag);
/* Returns a delivery to its queue. From any thread. While the channel is consumed but not wanted
 * this waits until the broker has ended consuming: otherwise it would deliver the message here
 * again, and a quorum queue drops a message after a number of deliveries. Does nothing if the
 * delivery's connection is lost. A stream keeps all messages, and refuses to take one back: it
 * gets an ack, and tag->position is set back to the message. */
void consumer_requeue(struct consumer *consumer, const struct delivery_tag *tag);

#endif
