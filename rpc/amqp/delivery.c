/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pieces of a delivery put together. The broker is believed nothing of how long they are.
 */
#include "rpc/internal.h"

void incoming_forget(struct incoming *incoming)
{
	if (incoming->pieces)
		g_byte_array_unref(incoming->pieces);
	*incoming = (struct incoming){0};
}

void incoming_begin(struct incoming *incoming, uint64_t tag)
{
	incoming_forget(incoming);
	incoming->begun = true;
	incoming->tag = tag;
}

/* Of what is over the limit the beginning, to be looked at by an operator. */
static void keep(struct incoming *incoming, amqp_bytes_t piece)
{
	size_t most = (size_t)MIN(incoming->size, incoming->size > RPC_MAX_BODY_BYTES
							  ? RPC_MAX_KEPT_BYTES
							  : RPC_MAX_BODY_BYTES);
	size_t has = incoming->pieces ? incoming->pieces->len : 0;

	if (has == 0 && piece.len == incoming->size && piece.len <= most) {
		incoming->body = piece.bytes;
		incoming->length = piece.len;
		return;
	}
	if (!incoming->pieces)
		incoming->pieces = g_byte_array_sized_new((guint)most);
	g_byte_array_append(incoming->pieces, piece.bytes, (guint)MIN(piece.len, most - has));
	incoming->body = (const char *)incoming->pieces->data;
	incoming->length = incoming->pieces->len;
}

int incoming_take(struct incoming *incoming, const amqp_frame_t *frame, GError **error)
{
	bool header = frame->frame_type == AMQP_FRAME_HEADER;

	/* What follows on a method that is no delivery. */
	if (!incoming->begun)
		return 0;
	if (header && !incoming->sized) {
		incoming->sized = true;
		incoming->size = frame->payload.properties.body_size;
		incoming->body = "";
	} else if (frame->frame_type == AMQP_FRAME_BODY && incoming->sized &&
		   frame->payload.body_fragment.len <= incoming->size - incoming->seen) {
		incoming->seen += frame->payload.body_fragment.len;
		keep(incoming, frame->payload.body_fragment);
	} else {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "the broker sent a frame (type %u) that has no place in a message of "
			    "%" G_GUINT64_FORMAT " bytes",
			    frame->frame_type, incoming->size);
		return -1;
	}
	return incoming->seen == incoming->size;
}
