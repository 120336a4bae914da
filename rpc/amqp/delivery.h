/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Incoming messages. AMQP sends each in several frames (a method frame, a header frame, body
 * frames), which the assembler combines. It does not trust any length that the broker announces.
 */
#ifndef NOVASNAP_RPC_AMQP_DELIVERY_H
#define NOVASNAP_RPC_AMQP_DELIVERY_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rpc/amqp/librabbitmq.h"
#include "rpc/amqp/raw-message.h"
#include "rpc/amqp/stream-position.h"

/* Identifies a delivery, for its ack. */
struct delivery_tag {
	unsigned connection; /* its number: a later connection cannot ack the delivery */
	amqp_channel_t channel;
	uint64_t number; /* AMQP's delivery tag */
	/* From a stream: the offset that follows this message's, at least 1. 0: not from a stream.
	 */
	int64_t next_offset;
	/* From a stream: where to note that the message was returned. Set by the receiver, or NULL.
	 */
	struct stream_position *position;
};

/* A message that has arrived. The texts are the sender's, but printable and not longer than AMQP
 * allows. */
struct delivery {
	struct delivery_tag tag;
	const char *consumer;	      /* its tag: the name of the queue */
	const char *content_type;     /* NULL: the property is missing or empty */
	const char *content_encoding; /* NULL: the property is missing or empty */
	const char *compression;      /* the header of that name, set by kombu; NULL: none */
	/* All properties as they were sent, without the body; valid as long as `body`. */
	const struct raw_message *raw;
	const char *body; /* not NUL-terminated; valid only during the receiver's call */
	size_t length;	  /* bytes at `body` */
	uint64_t size;	  /* bytes of the whole message; `body` may be only its start */
};

/* Assembles one delivery at a time. Initialize it with zeros. */
struct delivery_assembler {
	/* Set it before the first delivery to have the whole body also of a message that is over
	 * RPC_MAX_BODY_BYTES. */
	bool keeps_all;
	bool keeps_none; /* the body of this delivery is not kept; set it after delivery_begin */
	bool begun;
	bool has_header;
	uint64_t number;     /* AMQP's delivery tag */
	int64_t next_offset; /* as in struct delivery_tag */
	char *consumer;
	uint64_t size;					     /* bytes that the header announces */
	uint64_t received;				     /* bytes received */
	char *content_type, *content_encoding, *compression; /* as in struct delivery */
	struct raw_message *raw;			     /* as in struct delivery */
	/* The complete body; if it is over RPC_MAX_BODY_BYTES, its first RPC_MAX_KEPT_BYTES, unless
	 * keeps_all is set. */
	const char *body;
	size_t length;
	GByteArray *pieces;
};

/* Starts a delivery, after its method frame. */
void delivery_begin(struct delivery_assembler *assembler, uint64_t number, amqp_bytes_t consumer);
/* Adds a header frame or a body frame. Returns 1 if the delivery is complete: `body` is then valid
 * until delivery_reset or until the frame's buffers are released, because a body of one frame is
 * not copied. Returns 0 if more frames follow or the frame does not belong to a delivery; -1 with
 * RPC_ERROR_DISCONNECTED if the frame is not expected here. */
int delivery_add_frame(struct delivery_assembler *assembler, const amqp_frame_t *frame,
		       GError **error);
/* Describes the complete delivery on that connection and channel. The result is valid as long as
 * `body`. */
struct delivery delivery_describe(const struct delivery_assembler *assembler, unsigned connection,
				  amqp_channel_t channel);
/* Frees the assembled data, and prepares the assembler for the next delivery. */
void delivery_reset(struct delivery_assembler *assembler);

#endif
