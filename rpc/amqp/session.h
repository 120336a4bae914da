/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A short connection for one task: declares, publishes one message at a time and waits for its
 * confirmation, and receives answers in an exclusive queue. Blocks, and is used by one thread.
 *
 * Functions that return int return 0, or -1 with RPC_ERROR_DISCONNECTED (the session can only be
 * closed), RPC_ERROR_REFUSED (403 or 406: not permitted, or it exists with other arguments), or
 * RPC_ERROR_FAILED.
 */
#ifndef NOVASNAP_RPC_AMQP_SESSION_H
#define NOVASNAP_RPC_AMQP_SESSION_H

#include "rpc/amqp/declarations.h"
#include "rpc/amqp/delivery.h"
#include "rpc/rpc.h"

struct broker_session;

/* Connects to the first broker of the URL that accepts a login. `name` is shown in RabbitMQ's list
 * of connections. NULL with RPC_ERROR_DISCONNECTED or RPC_ERROR_CONFIG. */
struct broker_session *session_open(const struct rpc_config *config, const char *name,
				    GError **error);
void session_close(struct broker_session *session); /* accepts NULL */

/* Makes the declarations in turn. A shared exchange or queue that exists is used as it is; all
 * others must have these arguments. */
int session_declare(struct broker_session *session, const GPtrArray *declarations, GError **error);

/* What a passive declaration says about a queue or exchange. */
struct session_object {
	bool exists;
	unsigned messages; /* of a queue: ready, without the unacked ones */
	unsigned consumers;
};
int session_look_queue(struct broker_session *session, const char *queue,
		       struct session_object *ret_object, GError **error);
int session_look_exchange(struct broker_session *session, const char *exchange,
			  struct session_object *ret_object, GError **error);

/* Deletes a queue or an exchange, if it exists. */
int session_delete_queue(struct broker_session *session, const char *queue, GError **error);
int session_delete_exchange(struct broker_session *session, const char *exchange, GError **error);

struct session_message {
	const char *exchange; /* "": the default one */
	const char *key;
	const char *body;
	const char *type;	/* NULL: none */
	const char *message_id; /* NULL: none */
	const char *reply_to;	/* NULL: none */
	unsigned expiration_ms; /* how long it may wait in a queue; 0: for ever */
};
/* Publishes the message with `mandatory`, and waits for the broker's confirmation for at most 10 s.
 * *ret_returned: no queue took it. */
int session_publish(struct broker_session *session, const struct session_message *message,
		    bool *ret_returned, GError **error);

/* Receives a message. `exchange`: where it was published. Its arguments are valid only during the
 * call. Returns true if session_receive is to return. */
typedef bool (*session_receiver)(const char *exchange, const struct delivery *delivery,
				 void *opaque);
/* Declares an exclusive queue and consumes it. With `exchange` it is bound to that with `key`. Once
 * for each session. Returns the queue's name, valid as long as the session; NULL with an error. */
const char *session_consume(struct broker_session *session, const char *exchange, const char *key,
			    session_receiver receive, void *opaque, GError **error);
/* Passes messages to the receiver until that returns true, or until `until` (monotonic us). */
int session_receive(struct broker_session *session, gint64 until, GError **error);

#endif
