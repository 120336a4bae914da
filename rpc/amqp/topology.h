/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exchanges and queues, with the names and arguments of oslo_messaging._drivers.impl_rabbit. They
 * must equal those of the peers, or the broker answers 406 (PRECONDITION_FAILED).
 *
 * All functions but topology_cancel open the channel again when the broker has closed it, before
 * they return BROKER_CHANNEL_CLOSED.
 */
#ifndef NOVASNAP_RPC_AMQP_TOPOLOGY_H
#define NOVASNAP_RPC_AMQP_TOPOLOGY_H

#include "rpc/amqp/connection.h"

/* Declares the topic exchange that the option control_exchange names. One that was declared with
 * other arguments (406) is used as it is, and that is logged. */
enum broker_result topology_declare_exchange(struct broker_connection *connection,
					     amqp_channel_t channel,
					     const struct rpc_config *config, GError **error);

/* Declares a queue and binds it to the control exchange with its own name as routing key. One that
 * was declared with other arguments (406) is used as it is, with a warning. */
enum broker_result topology_declare_topic(struct broker_connection *connection,
					  amqp_channel_t channel, const struct rpc_config *config,
					  const char *queue, GError **error);

/* Declares the fanout exchange of the configured topic and our queue on it. The queue expires after
 * rpc_config.queue_ttl_s without a consumer. */
enum broker_result topology_declare_fanout(struct broker_connection *connection,
					   amqp_channel_t channel, const struct rpc_config *config,
					   const char *queue, GError **error);

/* Declares the queue for replies to our calls, on the default exchange. It expires likewise. */
enum broker_result topology_declare_reply(struct broker_connection *connection,
					  amqp_channel_t channel, const struct rpc_config *config,
					  const char *queue, GError **error);

/* Declares an exclusive queue that the broker names, and binds it to the control exchange with each
 * of the NULL-terminated routing keys. `ret_queue` is a string of the caller's, or NULL: it is
 * freed and replaced by the queue's name. */
enum broker_result topology_declare_listener(struct broker_connection *connection,
					     amqp_channel_t channel,
					     const struct rpc_config *config, char **ret_queue,
					     const char *const *keys, GError **error);

/* Limits the messages that the broker sends before they are acked; 0: no limit. */
enum broker_result topology_set_prefetch(struct broker_connection *connection,
					 amqp_channel_t channel, unsigned prefetch, GError **error);

/* Starts to consume a queue. `tag` names the consumer on this channel. With `no_ack` the broker
 * forgets each message when it has sent it. */
enum broker_result topology_consume(struct broker_connection *connection, amqp_channel_t channel,
				    const char *queue, const char *tag, bool no_ack,
				    GError **error);

/* Ends what topology_consume began. Messages that were delivered may still be acked. */
enum broker_result topology_cancel(struct broker_connection *connection, amqp_channel_t channel,
				   const char *tag, GError **error);

#endif
