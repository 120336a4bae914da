/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Replies to the calls that this server received.
 */
#include "rpc/reply.h"

#include "rpc/amqp/publisher.h"
#include "rpc/base.h"

#define REPLY_TIMEOUT_S 60 /* kombu_missing_consumer_retry_timeout */

/* The keys are in oslo's order. */
static char *encode_reply(const char *msg_id, cJSON *result, const char *failure, bool ending)
{
	cJSON *message = cJSON_CreateObject();
	g_autofree char *unique_id = rpc_hex_id();
	char *body;

	cJSON_AddItemToObject(message, "result", result ? result : cJSON_CreateNull());
	if (failure)
		cJSON_AddStringToObject(message, "failure", failure);
	else
		cJSON_AddNullToObject(message, "failure");
	cJSON_AddBoolToObject(message, "ending", ending);
	cJSON_AddStringToObject(message, "_msg_id", msg_id);
	cJSON_AddStringToObject(message, "_unique_id", unique_id);
	body = rpc_body_encode(message);
	cJSON_Delete(message);
	return body;
}

static void send_reply(struct publisher *publisher, const struct outgoing_message *message)
{
	g_autoptr(GError) error = NULL;

	if (publisher_send(publisher, message, false, &error) < 0)
		g_warning("cannot reply to a call: %s", error->message);
}

void rpc_reply_send(struct publisher *publisher, const char *reply_queue, const char *msg_id,
		    cJSON *result, char *failure)
{
	struct outgoing_message message = {
		.exchange = "",
		.key = reply_queue,
		.mandatory = true,
		.retry_unroutable = true,
		.vital = true,
		.timeout_s = REPLY_TIMEOUT_S,
	};

	message.body = encode_reply(msg_id, result, failure, true);
	cJSON_free(failure);
	send_reply(publisher, &message);
}

void rpc_reply_send_heartbeat(struct publisher *publisher, const char *reply_queue,
			      const char *msg_id)
{
	struct outgoing_message message = {
		.exchange = "",
		.key = reply_queue,
		.mandatory = true,
		.transient = true,
		.timeout_s = REPLY_TIMEOUT_S,
	};

	message.body = encode_reply(msg_id, NULL, NULL, false);
	send_reply(publisher, &message);
}
