/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See raw-message.h.
 */
#include "rpc/amqp/raw-message.h"

#include <glib.h>
#include <string.h>

#define POOL_PAGE_BYTES 1024
/* Of the encoded headers. The limit is far above the size of a frame, which has them all. */
#define HEADERS_MIN_BYTES ((size_t)512)
#define HEADERS_MAX_BYTES ((size_t)1024 * 1024)

/* The strings of an amqp_basic_properties_t. */
#define RAW_STRING(flag, member)                                                                   \
	{                                                                                          \
		flag, offsetof(amqp_basic_properties_t, member)                                    \
	}

static const struct {
	amqp_flags_t flag;
	size_t offset;
} strings[] = {
	RAW_STRING(AMQP_BASIC_CONTENT_TYPE_FLAG, content_type),
	RAW_STRING(AMQP_BASIC_CONTENT_ENCODING_FLAG, content_encoding),
	RAW_STRING(AMQP_BASIC_CORRELATION_ID_FLAG, correlation_id),
	RAW_STRING(AMQP_BASIC_REPLY_TO_FLAG, reply_to),
	RAW_STRING(AMQP_BASIC_EXPIRATION_FLAG, expiration),
	RAW_STRING(AMQP_BASIC_MESSAGE_ID_FLAG, message_id),
	RAW_STRING(AMQP_BASIC_TYPE_FLAG, type),
	RAW_STRING(AMQP_BASIC_USER_ID_FLAG, user_id),
	RAW_STRING(AMQP_BASIC_APP_ID_FLAG, app_id),
	RAW_STRING(AMQP_BASIC_CLUSTER_ID_FLAG, cluster_id),
};

static amqp_bytes_t copy_bytes(amqp_pool_t *pool, amqp_bytes_t bytes)
{
	amqp_bytes_t copy = amqp_empty_bytes;

	if (bytes.len == 0)
		return copy;
	amqp_pool_alloc_bytes(pool, bytes.len, &copy);
	/* As g_malloc does. */
	if (!copy.bytes)
		g_error("no memory for a property of %zu bytes", bytes.len);
	memcpy(copy.bytes, bytes.bytes, bytes.len);
	return copy;
}

/* By encoding and decoding them, since amqp_table_clone refuses an empty name, which RabbitMQ
 * accepts. Returns false if they cannot be encoded. */
static bool copy_headers(struct raw_message *message, amqp_table_t headers)
{
	int rc = AMQP_STATUS_TABLE_TOO_BIG;
	bool is_larger = true;
	amqp_bytes_t encoded;
	size_t end = 0;

	for (encoded.len = HEADERS_MIN_BYTES; is_larger && encoded.len <= HEADERS_MAX_BYTES;
	     encoded.len *= 2) {
		g_free(message->headers);
		encoded.bytes = message->headers = g_malloc(encoded.len);
		end = 0;
		rc = amqp_encode_table(encoded, &headers, &end);
		/* The second one where the buffer ends before the kind of a value. */
		is_larger = rc == AMQP_STATUS_TABLE_TOO_BIG || rc == AMQP_STATUS_BAD_AMQP_DATA;
	}
	encoded.len = end;
	end = 0;
	if (rc == AMQP_STATUS_OK)
		rc = amqp_decode_table(encoded, &message->pool, &message->properties.headers, &end);
	if (rc != AMQP_STATUS_OK)
		message->properties.headers = amqp_empty_table;
	return rc == AMQP_STATUS_OK;
}

struct raw_message *raw_message_new(const amqp_basic_properties_t *properties)
{
	struct raw_message *message = g_new0(struct raw_message, 1);

	init_amqp_pool(&message->pool, POOL_PAGE_BYTES);
	message->properties = *properties;
	for (size_t i = 0; i < G_N_ELEMENTS(strings); i++) {
		amqp_bytes_t *text =
			(amqp_bytes_t *)((char *)&message->properties + strings[i].offset);

		*text = properties->_flags & strings[i].flag ? copy_bytes(&message->pool, *text)
							     : amqp_empty_bytes;
	}
	message->properties.headers = amqp_empty_table;
	message->is_whole = !(properties->_flags & AMQP_BASIC_HEADERS_FLAG) ||
			    copy_headers(message, properties->headers);
	return message;
}

void raw_message_set_body(struct raw_message *message, const void *body, size_t length)
{
	g_free(message->body);
	message->body = g_memdup2(body, length);
	message->length = length;
}

struct raw_message *raw_message_copy(const struct raw_message *message, const void *body,
				     size_t length)
{
	struct raw_message *copy = raw_message_new(&message->properties);

	copy->is_whole = message->is_whole;
	raw_message_set_body(copy, body, length);
	return copy;
}

void raw_message_free(struct raw_message *message)
{
	if (!message)
		return;
	empty_amqp_pool(&message->pool);
	g_free(message->headers);
	g_free(message->body);
	g_free(message);
}
