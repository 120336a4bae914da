/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exchanges and queues, with the names and arguments of oslo_messaging._drivers.impl_rabbit. They
 * must equal those of the other services, or the broker answers 406 (PRECONDITION_FAILED).
 *
 * All functions except topology_cancel reopen a channel that the broker has closed before they
 * return BROKER_CHANNEL_CLOSED.
 */
#ifndef NOVASNAP_RPC_AMQP_TOPOLOGY_H
#define NOVASNAP_RPC_AMQP_TOPOLOGY_H

#include "rpc/amqp/connection.h"

/* Declares the topic exchange of the option control_exchange. An exchange that exists with other
 * arguments (406) is used as it is, which is logged. */
enum broker_result topology_declare_exchange(struct broker_connection *connection,
					     amqp_channel_t channel,
					     const struct rpc_config *config, GError **error);

/* Declares a queue and binds it to the control exchange with its own name as routing key. A queue
 * that exists with other arguments (406) is used as it is, with a warning. */
enum broker_result topology_declare_topic(struct broker_connection *connection,
					  amqp_channel_t channel, const struct rpc_config *config,
					  const char *queue, GError **error);

/* Declares the fanout exchange of the configured topic and this process's queue on it. The queue
 * expires when it has had no consumer for rpc_config.queue_ttl_s. */
enum broker_result topology_declare_fanout(struct broker_connection *connection,
					   amqp_channel_t channel, const struct rpc_config *config,
					   const char *queue, GError **error);

/* Declares the queue for replies to this process's calls, on the default exchange. It expires in
 * the same way. */
enum broker_result topology_declare_reply(struct broker_connection *connection,
					  amqp_channel_t channel, const struct rpc_config *config,
					  const char *queue, GError **error);

/* Declares an exclusive queue that the broker names, and binds it to the control exchange with each
 * of the NULL-terminated routing keys. `*ret_queue` is freed and replaced by the queue's name,
 * which the caller frees; it may be NULL before. */
enum broker_result topology_declare_listener(struct broker_connection *connection,
					     amqp_channel_t channel,
					     const struct rpc_config *config, char **ret_queue,
					     const char *const *keys, GError **error);

/* Limits the number of unacked messages that the broker sends; 0: no limit. */
enum broker_result topology_set_prefetch(struct broker_connection *connection,
					 amqp_channel_t channel, unsigned prefetch, GError **error);

/* Starts consuming a queue. `tag` names the consumer on this channel. With `no_ack` the broker
 * deletes each message once it has sent it. */
enum broker_result topology_consume(struct broker_connection *connection, amqp_channel_t channel,
				    const char *queue, const char *tag, bool no_ack,
				    GError **error);

/* Cancels the consumer that topology_consume started. Delivered messages may still be acked. */
enum broker_result topology_cancel(struct broker_connection *connection, amqp_channel_t channel,
				   const char *tag, GError **error);

#endif
