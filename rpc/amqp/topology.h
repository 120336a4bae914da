/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Makes declarations at the broker (declarations.h). Names and arguments must equal those of the
 * other services, or the broker answers 406 (PRECONDITION_FAILED).
 *
 * All functions except topology_cancel reopen a channel that the broker has closed before they
 * return BROKER_CHANNEL_CLOSED.
 */
#ifndef NOVASNAP_RPC_AMQP_TOPOLOGY_H
#define NOVASNAP_RPC_AMQP_TOPOLOGY_H

#include "rpc/amqp/connection.h"
#include "rpc/amqp/declarations.h"

/* What to do where the broker denies transient queues: those of topics, and those of this process.
 */
#define TOPOLOGY_ADVICE_DENIED                                                                     \
	"this broker denies transient queues: set "                                                \
	"[oslo_messaging_rabbit]rabbit_quorum_queue and rabbit_transient_quorum_queue to true, "   \
	"as "                                                                                      \
	"in the services of the control plane; without them no nova-compute can serve, either"
#define TOPOLOGY_ADVICE_DENIED_PRIVATE                                                             \
	"this broker denies transient queues: set "                                                \
	"[oslo_messaging_rabbit]rabbit_transient_quorum_queue to true, as in the services of the " \
	"control plane; without it no nova-compute can serve. novasnapd uses exclusive queues"

/* Makes the declarations of the list in turn, and stops at the first one that the broker refuses.
 *
 * A shared exchange or queue that exists with other arguments is used as it is, with a warning.
 * oslo.messaging 14 fails there, and 16 and 18 do so except for some differences in `durable`
 * (impl_rabbit.Consumer._declare_fallback_nondurable).
 *
 * A queue that must be unused and has a consumer counts as refused; its channel stays open.
 *
 * After a consumer was started, a refusal is BROKER_LOST: messages may have been delivered on the
 * closed channel. */
enum broker_result topology_declare(struct broker_connection *connection, amqp_channel_t channel,
				    const GPtrArray *declarations, GError **error);

/* Makes one declaration, as it is: the broker's refusals are the caller's. With `passive`, an
 * exchange or queue is not created: BROKER_CHANNEL_CLOSED with the code 404 if it does not exist.
 */
enum broker_result topology_declare_one(struct broker_connection *connection,
					amqp_channel_t channel,
					const struct declaration *declaration, bool passive,
					GError **error);

/* Whether the broker's last refusal is that the exchange or queue exists with other arguments. */
bool topology_is_conflict(const struct broker_connection *connection, const GError *refusal);

/* Cancels the consumers of the list. Delivered messages may still be acked. */
enum broker_result topology_cancel(struct broker_connection *connection, amqp_channel_t channel,
				   const GPtrArray *declarations, GError **error);

/* Asks the broker to delete a queue of this process, and does not wait for its answer. */
void topology_delete(struct broker_connection *connection, amqp_channel_t channel,
		     const char *queue);

/* Declares an exclusive queue that the broker names, binds it to the exchange with each of the
 * NULL-terminated routing keys, and consumes it without acks. */
enum broker_result topology_listen(struct broker_connection *connection, amqp_channel_t channel,
				   const char *exchange, const char *const *keys, GError **error);

#endif
