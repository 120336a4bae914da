/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connection to a broker. It is used by one thread only (librabbitmq has no locks). Decodes each
 * reply of the broker by its type.
 */
#ifndef NOVASNAP_RPC_AMQP_CONNECTION_H
#define NOVASNAP_RPC_AMQP_CONNECTION_H

#include "rpc/amqp/librabbitmq.h"
#include "rpc/amqp/transport-url.h"
#include "rpc/rpc.h"

struct broker_connection;

enum broker_result {
	BROKER_OK,
	BROKER_CHANNEL_CLOSED, /* the broker reported an error and closed the channel only */
	BROKER_LOST,	       /* the connection is lost: call broker_abandon */
};

/* Connects to the broker at `address` and logs in, which takes at most about half a minute.
 * `name` is shown in RabbitMQ's list of connections. Returns NULL with RPC_ERROR_DISCONNECTED, with
 * RPC_ERROR_CONFIG if TLS files cannot be used, or with RPC_ERROR_FAILED. */
struct broker_connection *broker_open(const struct rpc_config *config,
				      const struct broker_address *address, const char *vhost,
				      const char *name, GError **error);
/* Connects to the first broker of the URL that accepts a login. */
struct broker_connection *broker_open_any(const struct rpc_config *config,
					  const struct transport_url *url, const char *name,
					  GError **error);
/* Closes the connection with AMQP's closing handshake, so that the broker reads everything that was
 * written. Waits for the broker for at most 2 s. Accepts NULL. */
void broker_close(struct broker_connection *connection);
/* Closes the socket without a closing handshake, for a connection that is lost. Accepts NULL. */
void broker_abandon(struct broker_connection *connection);

/* The handle for librabbitmq's functions; check their results with broker_check_reply. */
amqp_connection_state_t broker_amqp_state(struct broker_connection *connection);
int broker_fd(struct broker_connection *connection);
/* "host:port", for messages. Valid as long as the connection. */
const char *broker_peer(const struct broker_connection *connection);

/* Opens a channel for the first time, or again after BROKER_CHANNEL_CLOSED. */
enum broker_result broker_open_channel(struct broker_connection *connection, amqp_channel_t channel,
				       GError **error);

/* Decodes the reply to the last synchronous librabbitmq call on that channel. If the result is not
 * BROKER_OK, an error is set that begins with `action` ("declaring the queue q"): RPC_ERROR_FAILED
 * for BROKER_CHANNEL_CLOSED, RPC_ERROR_DISCONNECTED for BROKER_LOST. */
enum broker_result broker_check_reply(struct broker_connection *connection, amqp_channel_t channel,
				      const char *action, GError **error);
/* The same, and opens the channel again if the broker has closed it. */
enum broker_result broker_check_reply_and_reopen(struct broker_connection *connection,
						 amqp_channel_t channel, const char *action,
						 GError **error);
/* Asks for publisher confirms on a channel that is open. A channel that is opened again has none.
 */
enum broker_result broker_select_confirms(struct broker_connection *connection,
					  amqp_channel_t channel, GError **error);
/* Opens a channel with publisher confirms. */
enum broker_result broker_open_publishing(struct broker_connection *connection,
					  amqp_channel_t channel, GError **error);
/* The AMQP reply code of the last BROKER_CHANNEL_CLOSED: 404, 406... */
int broker_reply_code(const struct broker_connection *connection);
/* The AMQP reply code with which the broker closed the connection; 0: it did not. */
int broker_close_code(const struct broker_connection *connection);

/* Whether the broker has closed the connection because it denies transient queues that are not
 * exclusive (RabbitMQ's deprecated feature transient_nonexcl_queues). */
bool broker_denied_transient(const struct broker_connection *connection);

/* Returns the next frame that has arrived, without waiting. frame_type is 0 if there is none. The
 * frame is valid until amqp_maybe_release_buffers. Errors are those of broker_check_reply. */
enum broker_result broker_next_frame(struct broker_connection *connection, amqp_frame_t *frame,
				     GError **error);

/* Waits until a frame can be read or the eventfd was written; the eventfd is then reset. Returns at
 * `until` (monotonic us) at the latest, and early enough for heartbeats. `connection` may be NULL:
 * then waits only for the eventfd. */
void broker_wait(struct broker_connection *connection, int event_fd, gint64 until);

#endif
