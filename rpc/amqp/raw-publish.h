/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Publishes raw messages to a queue, one at a time, each with the broker's confirmation. RabbitMQ's
 * confirmation and the return of a message that no queue takes are matched by their order, because
 * a message that stays as it is cannot carry a mark of its own.
 */
#ifndef NOVASNAP_RPC_AMQP_RAW_PUBLISH_H
#define NOVASNAP_RPC_AMQP_RAW_PUBLISH_H

#include "rpc/amqp/connection.h"
#include "rpc/amqp/raw-message.h"
#include "rpc/amqp/write-watchdog.h"

enum raw_publish_result {
	RAW_PUBLISH_CONFIRMED, /* the queue has it */
	RAW_PUBLISH_REFUSED, /* the queue has not taken it: it is full, missing, or closed to us */
	RAW_PUBLISH_LOST,    /* unknown: call broker_abandon */
};

/* Publishes the message with the default exchange to a queue, on a channel of
 * broker_open_publishing on which nothing else publishes, and waits for the confirmation until
 * `deadline` (monotonic us). Nobody else may read the connection's frames meanwhile; content on
 * other channels is dropped. With RAW_PUBLISH_REFUSED (RPC_ERROR_NOT_CONFIRMED or
 * RPC_ERROR_REFUSED) the channel is open. `watchdog` guards the write; NULL: none does. */
enum raw_publish_result raw_publish(struct broker_connection *connection, amqp_channel_t channel,
				    const char *queue, const struct raw_message *message,
				    struct write_watchdog *watchdog, gint64 deadline,
				    GError **error);

#endif
