/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See forward-publish.h.
 */
#include "rpc/amqp/forward-publish.h"

#include <string.h>

#include "rpc/amqp/forwarder-queue.h"

static bool is_text(amqp_bytes_t bytes, const char *text)
{
	return bytes.len == strlen(text) && memcmp(bytes.bytes, text, bytes.len) == 0;
}

bool forward_has_text(const struct raw_message *message, amqp_flags_t flag, amqp_bytes_t value,
		      const char *text)
{
	return (message->properties._flags & flag) && is_text(value, text);
}

static bool has_header(const struct raw_message *message, const char *name)
{
	const amqp_table_t *headers = &message->properties.headers;

	for (int i = 0; i < headers->num_entries; i++) {
		if (is_text(headers->entries[i].key, name))
			return true;
	}
	return false;
}

const char *forward_find_obstacle(const struct raw_message *message, const char *user)
{
	const amqp_basic_properties_t *properties = &message->properties;

	if (!message->is_whole)
		return "its headers cannot be copied";
	/* RabbitMQ validates it (rabbit_channel:check_user_id_header). */
	if ((properties->_flags & AMQP_BASIC_USER_ID_FLAG) && !is_text(properties->user_id, user))
		return "it has the user_id of another user";
	/* rabbit_exchange:route adds these queues. */
	if (has_header(message, "CC") || has_header(message, "BCC"))
		return "its header CC or BCC would route it to further queues again";
	return NULL;
}

static int publish(struct broker_connection *connection, const char *exchange, amqp_bytes_t key,
		   bool mandatory, const amqp_basic_properties_t *properties, amqp_bytes_t body,
		   GError **error)
{
	int rc = amqp_basic_publish(broker_amqp_state(connection), FORWARDER_PUBLISH,
				    amqp_cstring_bytes(exchange), key, mandatory, 0, properties,
				    body);
	bool is_refused = rc == AMQP_STATUS_BAD_AMQP_DATA || rc == AMQP_STATUS_TABLE_TOO_BIG ||
			  rc == AMQP_STATUS_INVALID_PARAMETER;

	if (rc == AMQP_STATUS_OK)
		return 0;
	g_set_error(error, RPC_ERROR, is_refused ? RPC_ERROR_REFUSED : RPC_ERROR_DISCONNECTED,
		    "publishing to %.*s at %s: %s", (int)key.len, (const char *)key.bytes,
		    broker_peer(connection), amqp_error_string2(rc));
	return -1;
}

int forward_publish_copy(struct broker_connection *connection, const char *queue,
			 struct raw_message *message, GError **error)
{
	const amqp_bytes_t body = {message->length, message->body};

	return publish(connection, "", amqp_cstring_bytes(queue), true, &message->properties, body,
		       error);
}

int forward_publish_answer(struct broker_connection *connection, const struct raw_message *asked,
			   const char *body, GError **error)
{
	const amqp_basic_properties_t properties = {
		._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG |
			  AMQP_BASIC_TYPE_FLAG,
		.content_type = amqp_cstring_bytes("application/json"),
		.correlation_id = asked->properties.message_id,
		.type = asked->properties.type,
	};

	return publish(connection, "", asked->properties.reply_to, false, &properties,
		       amqp_cstring_bytes(body), error);
}

int forward_publish_canary(struct broker_connection *connection, const char *exchange,
			   const char *key, const char *id, GError **error)
{
	const amqp_basic_properties_t properties = {
		._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_CONTENT_ENCODING_FLAG |
			  AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG |
			  AMQP_BASIC_TYPE_FLAG,
		.content_type = amqp_cstring_bytes("application/json"),
		.content_encoding = amqp_cstring_bytes("utf-8"),
		.delivery_mode = 2,
		.message_id = amqp_cstring_bytes(id),
		.type = amqp_cstring_bytes(FORWARD_TYPE_CANARY),
	};
	/* Harmless, if it reaches nova-compute by dead-lettering. */
	g_autofree char *body = g_strdup_printf(
		"{\"oslo.version\": \"2.0\", \"oslo.message\": \"{\\\"method\\\": \\\"ping\\\", "
		"\\\"args\\\": {\\\"arg\\\": \\\"novasnap\\\"}, \\\"namespace\\\": "
		"\\\"baseapi\\\", \\\"version\\\": \\\"1.0\\\", \\\"_unique_id\\\": \\\"%s\\\"}\"}",
		id);

	return publish(connection, exchange, amqp_cstring_bytes(key), false, &properties,
		       amqp_cstring_bytes(body), error);
}
