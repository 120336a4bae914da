/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Assembles deliveries from frames.
 */
#include "rpc/amqp/delivery.h"

#include <string.h>

#include "rpc/limits.h"
#include "rpc/rpc.h"

void delivery_reset(struct delivery_assembler *assembler)
{
	if (assembler->pieces)
		g_byte_array_unref(assembler->pieces);
	g_free(assembler->consumer);
	g_free(assembler->content_type);
	g_free(assembler->content_encoding);
	g_free(assembler->compression);
	raw_message_free(assembler->raw);
	*assembler = (struct delivery_assembler){.keeps_all = assembler->keeps_all};
}

void delivery_begin(struct delivery_assembler *assembler, uint64_t number, amqp_bytes_t consumer)
{
	delivery_reset(assembler);
	assembler->begun = true;
	assembler->number = number;
	assembler->consumer = g_strndup(consumer.bytes, MIN(consumer.len, RPC_MAX_NAME_BYTES));
}

/* Of a body over the limit only the beginning is kept, for the operator. */
static void add_piece(struct delivery_assembler *assembler, amqp_bytes_t piece)
{
	bool too_long = assembler->size > RPC_MAX_BODY_BYTES && !assembler->keeps_all;
	size_t limit = (size_t)MIN(assembler->size, too_long ? RPC_MAX_KEPT_BYTES : G_MAXUINT);
	size_t length = assembler->pieces ? assembler->pieces->len : 0;

	if (assembler->keeps_none)
		return;
	if (length == 0 && piece.len == assembler->size && piece.len <= limit) {
		assembler->body = piece.bytes;
		assembler->length = piece.len;
		return;
	}
	if (!assembler->pieces)
		assembler->pieces = g_byte_array_sized_new((guint)MIN(limit, RPC_MAX_BODY_BYTES));
	g_byte_array_append(assembler->pieces, piece.bytes, (guint)MIN(piece.len, limit - length));
	assembler->body = (const char *)assembler->pieces->data;
	assembler->length = assembler->pieces->len;
}

/* Copies a text of the broker's, with "?" for each byte that is not printable. NULL if it is empty.
 */
static char *copy_printable(amqp_bytes_t bytes)
{
	char *text;

	if (bytes.len == 0)
		return NULL;
	text = g_strndup(bytes.bytes, MIN(bytes.len, RPC_MAX_NAME_BYTES));
	for (char *at = text; *at; at++) {
		if (!g_ascii_isprint(*at))
			*at = '?';
	}
	return text;
}

/* The value of a header; of several, the last one. NULL: none. */
static const amqp_field_value_t *find_header(const amqp_table_t *headers, const char *name)
{
	for (int i = headers->num_entries - 1; i >= 0; i--) {
		const amqp_table_entry_t *entry = &headers->entries[i];

		if (entry->key.len == strlen(name) &&
		    memcmp(entry->key.bytes, name, entry->key.len) == 0)
			return &entry->value;
	}
	return NULL;
}

/* Returns the header `compression`, by which kombu reads the body. */
static char *read_compression(const amqp_table_t *headers)
{
	const amqp_field_value_t *value = find_header(headers, "compression");

	if (!value || value->kind == AMQP_FIELD_KIND_VOID)
		return NULL;
	if (value->kind == AMQP_FIELD_KIND_UTF8 || value->kind == AMQP_FIELD_KIND_BYTES)
		return copy_printable(value->value.bytes);
	return g_strdup("(not a string)");
}

/* RabbitMQ adds the header to each message of a stream. */
static int64_t read_next_offset(const amqp_table_t *headers)
{
	const amqp_field_value_t *value = find_header(headers, "x-stream-offset");

	if (!value || value->kind != AMQP_FIELD_KIND_I64 || value->value.i64 < 0 ||
	    value->value.i64 == INT64_MAX)
		return 0;
	return value->value.i64 + 1;
}

/* The frame's buffers may be released before the body is complete, so the properties are copied. */
static void read_properties(struct delivery_assembler *assembler,
			    const amqp_basic_properties_t *properties)
{
	assembler->raw = raw_message_new(properties);
	if (properties->_flags & AMQP_BASIC_CONTENT_TYPE_FLAG)
		assembler->content_type = copy_printable(properties->content_type);
	if (properties->_flags & AMQP_BASIC_CONTENT_ENCODING_FLAG)
		assembler->content_encoding = copy_printable(properties->content_encoding);
	if (!(properties->_flags & AMQP_BASIC_HEADERS_FLAG))
		return;
	assembler->compression = read_compression(&properties->headers);
	assembler->next_offset = read_next_offset(&properties->headers);
}

int delivery_add_frame(struct delivery_assembler *assembler, const amqp_frame_t *frame,
		       GError **error)
{
	static const amqp_basic_properties_t none;
	bool is_header = frame->frame_type == AMQP_FRAME_HEADER;

	/* The frame belongs to a method that is not a delivery. */
	if (!assembler->begun)
		return 0;
	if (is_header && !assembler->has_header) {
		assembler->has_header = true;
		assembler->size = frame->payload.properties.body_size;
		assembler->body = "";
		read_properties(assembler, frame->payload.properties.decoded
						   ? frame->payload.properties.decoded
						   : &none);
	} else if (frame->frame_type == AMQP_FRAME_BODY && assembler->has_header &&
		   frame->payload.body_fragment.len <= assembler->size - assembler->received) {
		assembler->received += frame->payload.body_fragment.len;
		add_piece(assembler, frame->payload.body_fragment);
	} else {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "the broker sent an unexpected frame of type %u in a message of "
			    "%" G_GUINT64_FORMAT " bytes",
			    frame->frame_type, assembler->size);
		return -1;
	}
	return assembler->received == assembler->size;
}

struct delivery delivery_describe(const struct delivery_assembler *assembler, unsigned connection,
				  amqp_channel_t channel)
{
	return (struct delivery){
		.tag =
			{
				.connection = connection,
				.channel = channel,
				.number = assembler->number,
				.next_offset = assembler->next_offset,
			},
		.consumer = assembler->consumer ? assembler->consumer : "",
		.content_type = assembler->content_type,
		.content_encoding = assembler->content_encoding,
		.compression = assembler->compression,
		.raw = assembler->raw,
		.body = assembler->body,
		.length = assembler->length,
		.size = assembler->size,
	};
}
