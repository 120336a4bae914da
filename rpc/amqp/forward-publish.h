/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the forwarding thread publishes: copies of messages, answers to control messages, and its
 * own canaries.
 */
#ifndef NOVASNAP_RPC_AMQP_FORWARD_PUBLISH_H
#define NOVASNAP_RPC_AMQP_FORWARD_PUBLISH_H

#include <stdbool.h>

#include "rpc/amqp/connection.h"
#include "rpc/amqp/raw-message.h"

/* The `type` of a message that measures the delay. */
#define FORWARD_TYPE_CANARY "novasnap.beside.canary"

/* Why the message cannot be published as it is, by this user; NULL: it can. */
const char *forward_find_obstacle(const struct raw_message *message, const char *user);

/* They publish on the channel FORWARDER_PUBLISH. 0, or -1 with RPC_ERROR_DISCONNECTED; with
 * RPC_ERROR_REFUSED it is the message that cannot be encoded, and the connection must be given up
 * as well. */
int forward_publish_copy(struct broker_connection *connection, const char *queue,
			 struct raw_message *message, GError **error);
/* Answers a control message. Not mandatory: its sender may be gone. */
int forward_publish_answer(struct broker_connection *connection, const struct raw_message *asked,
			   const char *body, GError **error);
int forward_publish_canary(struct broker_connection *connection, const char *exchange,
			   const char *key, const char *id, GError **error);

/* Whether a property, by its flag and value, is this text. */
bool forward_has_text(const struct raw_message *message, amqp_flags_t flag, amqp_bytes_t value,
		      const char *text);

#endif
