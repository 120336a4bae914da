/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The messages that answer a call (oslo_messaging._drivers.amqpdriver, AMQPIncomingMessage.reply
 * and heartbeat). They go to the caller's reply queue, without waiting for a confirmation. Errors
 * of the outbox are logged.
 */
#ifndef NOVASNAP_RPC_REPLY_H
#define NOVASNAP_RPC_REPLY_H

#include <cjson/cJSON.h>

struct publisher;

/* Answers the call `msg_id` with `failure` (from rpc_failure_encode), or if that is NULL, with
 * `result` (NULL: a JSON null). Takes ownership of both. The caller's queue may be missing for up
 * to a minute: it is declared again when the caller reconnects. */
void rpc_reply_send(struct publisher *publisher, const char *reply_queue, const char *msg_id,
		    cJSON *result, char *failure);

/* Tells the caller that the call is still in progress. */
void rpc_reply_send_heartbeat(struct publisher *publisher, const char *reply_queue,
			      const char *msg_id);

#endif
