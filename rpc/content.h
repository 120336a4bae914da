/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From the body of a delivery to the message in it, by the properties of the delivery, as in kombu
 * (kombu.message.Message, kombu.serialization.loads) and oslo.messaging:
 * - the header `compression`: one of kombu's methods (decompress.h);
 * - content_type: "application/json", or none. Like oslo.messaging, novasnap accepts none of
 * kombu's other serializers (pickle, YAML, msgpack);
 * - content_encoding: has no effect, because kombu takes JSON for UTF-8. Only "base64", in which
 *   kombu's virtual transports send bytes, is decoded first.
 * The other properties do not change how a message is read.
 */
#ifndef NOVASNAP_RPC_CONTENT_H
#define NOVASNAP_RPC_CONTENT_H

#include <cjson/cJSON.h>
#include <glib.h>

#include "rpc/amqp/delivery.h"

/* The text of a body. It may contain secrets. */
struct content {
	const char *text; /* not NUL-terminated; NULL: the body cannot be read as text */
	size_t length;
	GByteArray *bytes; /* owns the text if it is not the delivery's own */
};

/* Returns the message, which the caller deletes. NULL with RPC_ERROR_DECODE, or with
 * RPC_ERROR_ENCODING if the type or the compression is not supported. In either case `ret_content`
 * is set, and valid as long as the delivery's body; after an error its text may be only the
 * beginning. The caller clears it with content_clear. */
cJSON *content_decode(const struct delivery *delivery, struct content *ret_content, GError **error);
void content_clear(struct content *content);

#endif
