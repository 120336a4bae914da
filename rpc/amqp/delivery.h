/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages that arrive. AMQP sends each in pieces (a method frame, a header frame, body frames);
 * the assembler puts them together. It trusts nothing that the broker says about lengths.
 */
#ifndef NOVASNAP_RPC_AMQP_DELIVERY_H
#define NOVASNAP_RPC_AMQP_DELIVERY_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rpc/amqp/librabbitmq.h"

/* Identifies a delivery, for its ack. */
struct delivery_tag {
	unsigned connection; /* the number of our connection: an older one cannot be acked on */
	amqp_channel_t channel;
	uint64_t number; /* AMQP's delivery tag */
};

/* A message that has arrived. */
struct delivery {
	struct delivery_tag tag;
	const char *body; /* has no terminator; valid only while its receiver is called */
	size_t length;	  /* bytes at `body` */
	uint64_t size;	  /* bytes of the whole message; where it is more than RPC_MAX_BODY_BYTES,
			   * only the beginning is at `body` */
};

/* Puts one delivery together. Initialize it with zeros. */
struct delivery_assembler {
	bool begun;
	bool has_header;
	uint64_t number;   /* AMQP's delivery tag */
	uint64_t size;	   /* bytes that the header announces */
	uint64_t received; /* bytes that have come */
	/* The body, when all of it has come; of one over RPC_MAX_BODY_BYTES the first
	 * RPC_MAX_KEPT_BYTES. */
	const char *body;
	size_t length;
	GByteArray *pieces;
};

/* Begins a delivery, after its method frame. */
void delivery_begin(struct delivery_assembler *assembler, uint64_t number);
/* Adds a header frame or a body frame. Returns 1 when the delivery is complete: `body` is valid
 * until delivery_reset, and until the frame's buffers are released, because a body of one frame is
 * not copied. Returns 0 when more is to come, or when the frame does not belong to a delivery; -1
 * with RPC_ERROR_DISCONNECTED when the frame is not expected here. */
int delivery_add_frame(struct delivery_assembler *assembler, const amqp_frame_t *frame,
		       GError **error);
/* Frees what was put together, and makes the assembler ready for the next delivery. */
void delivery_reset(struct delivery_assembler *assembler);

#endif
