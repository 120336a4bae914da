/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The topics that the server consumes, and their queues. All functions but served_topics_new, _free
 * and _serve_alt are for the consumer's thread.
 */
#ifndef NOVASNAP_RPC_SERVED_TOPICS_H
#define NOVASNAP_RPC_SERVED_TOPICS_H

#include "rpc/amqp/consumer.h"
#include "rpc/rpc.h"

struct served_topics;

struct served_topics *served_topics_new(const struct rpc_config *config);
/* Accepts NULL. */
void served_topics_free(struct served_topics *topics);

/* Serves alt_topic, too, from the next subscription on. Returns false if it did before. Any
 * thread. */
bool served_topics_serve_alt(struct served_topics *topics);

/* Callbacks of struct consumer_channel_ops; `opaque` is the struct rpc. The queues are those of an
 * oslo server (oslo_messaging._drivers.amqpdriver.AMQPDriverBase.listen). */
enum broker_result served_topics_subscribe(struct broker_connection *connection,
					   amqp_channel_t channel, void *opaque, GError **error);
enum broker_result served_topics_unsubscribe(struct broker_connection *connection,
					     amqp_channel_t channel, void *opaque, GError **error);
/* The offsets of a new stream begin again (impl_rabbit.Consumer.reset_stream_offset). */
void served_topics_forget_position(const char *consumer, void *opaque);
/* As impl_rabbit.Connection.close: deletes only queues with a random name, which would never be
 * used again. */
void served_topics_leave(struct broker_connection *connection, amqp_channel_t channel,
			 void *opaque);

/* Consuming a stream continues after this message (impl_rabbit.Consumer._callback). Returns the
 * delivery's tag. */
struct delivery_tag served_topics_note_position(struct served_topics *topics,
						const struct delivery *delivery);
/* Of a fanout each server has a copy of its own: a nova-compute that is away misses it as well. */
bool served_topics_is_fanout(const struct served_topics *topics, const struct delivery *delivery);

#endif
