/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Assembles deliveries from frames.
 */
#include "rpc/amqp/delivery.h"

#include "rpc/limits.h"
#include "rpc/rpc.h"

void delivery_reset(struct delivery_assembler *assembler)
{
	if (assembler->pieces)
		g_byte_array_unref(assembler->pieces);
	*assembler = (struct delivery_assembler){0};
}

void delivery_begin(struct delivery_assembler *assembler, uint64_t number)
{
	delivery_reset(assembler);
	assembler->begun = true;
	assembler->number = number;
}

/* Of a body over the limit only the beginning is kept, for the operator. */
static void add_piece(struct delivery_assembler *assembler, amqp_bytes_t piece)
{
	bool too_long = assembler->size > RPC_MAX_BODY_BYTES;
	size_t limit =
		(size_t)MIN(assembler->size, too_long ? RPC_MAX_KEPT_BYTES : RPC_MAX_BODY_BYTES);
	size_t length = assembler->pieces ? assembler->pieces->len : 0;

	if (length == 0 && piece.len == assembler->size && piece.len <= limit) {
		assembler->body = piece.bytes;
		assembler->length = piece.len;
		return;
	}
	if (!assembler->pieces)
		assembler->pieces = g_byte_array_sized_new((guint)limit);
	g_byte_array_append(assembler->pieces, piece.bytes, (guint)MIN(piece.len, limit - length));
	assembler->body = (const char *)assembler->pieces->data;
	assembler->length = assembler->pieces->len;
}

int delivery_add_frame(struct delivery_assembler *assembler, const amqp_frame_t *frame,
		       GError **error)
{
	bool is_header = frame->frame_type == AMQP_FRAME_HEADER;

	/* The frame belongs to a method that is not a delivery. */
	if (!assembler->begun)
		return 0;
	if (is_header && !assembler->has_header) {
		assembler->has_header = true;
		assembler->size = frame->payload.properties.body_size;
		assembler->body = "";
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
