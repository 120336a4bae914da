/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The queue of the forwarding thread: consuming it, and counting what waits in it. It is never
 * declared here.
 */
#ifndef NOVASNAP_RPC_AMQP_FORWARDER_QUEUE_H
#define NOVASNAP_RPC_AMQP_FORWARDER_QUEUE_H

#include "rpc/amqp/connection.h"

/* Consuming, publishing and questions each have a channel: the broker's refusal closes only that
 * one. */
enum forwarder_channel {
	FORWARDER_CONSUME = 1,
	FORWARDER_PUBLISH,
	FORWARDER_ASK,
};

/* How many messages the broker sends before the first of them is acked. */
#define FORWARDER_PREFETCH 128

/* Opens the three channels, with publisher confirms. */
enum broker_result forwarder_queue_open_channels(struct broker_connection *connection,
						 GError **error);
/* Sets how many messages of each later consumer may be unacked. When it returns, the broker has
 * handled all acks before it. */
enum broker_result forwarder_queue_set_prefetch(struct broker_connection *connection,
						unsigned prefetch, GError **error);
/* Starts consuming, with at most `prefetch` messages that are not acked. BROKER_CHANNEL_CLOSED with
 * RPC_ERROR_FAILED: the queue does not exist, is consumed by another process, or the user may not
 * consume it; the channels are open. */
enum broker_result forwarder_queue_consume(struct broker_connection *connection, const char *queue,
					   unsigned prefetch, GError **error);
/* Ends consuming. Messages that have arrived may still be acked. */
enum broker_result forwarder_queue_cancel(struct broker_connection *connection, const char *queue,
					  GError **error);
/* The same without waiting for the broker: AMQP_BASIC_CANCEL_OK_METHOD arrives after the last
 * message. Returns a status of librabbitmq. */
int forwarder_queue_begin_cancel(struct broker_connection *connection, const char *queue);
/* Counts the messages that wait in the queue and were not sent to a consumer. As
 * forwarder_queue_consume. */
enum broker_result forwarder_queue_count(struct broker_connection *connection, const char *queue,
					 unsigned *ret_messages, GError **error);

#endif
