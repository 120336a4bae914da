/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A message as it is at the broker: all of its properties and headers, and the bytes of its body.
 * It can be published elsewhere without a change.
 */
#ifndef NOVASNAP_RPC_AMQP_RAW_MESSAGE_H
#define NOVASNAP_RPC_AMQP_RAW_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "rpc/amqp/librabbitmq.h"

struct raw_message {
	amqp_pool_t pool;		    /* owns what `properties` points to */
	amqp_basic_properties_t properties; /* with the flags of the original */
	char *headers;			    /* encoded; `properties` points to it */
	bool is_whole; /* false: the headers are missing, since librabbitmq cannot encode them */
	char *body;    /* not NUL-terminated; NULL: none yet */
	size_t length; /* bytes at `body` */
};

/* Copies the properties, with their strings and headers. The message has no body yet. The caller
 * frees it. */
struct raw_message *raw_message_new(const amqp_basic_properties_t *properties);
/* Replaces the body by a copy. */
void raw_message_set_body(struct raw_message *message, const void *body, size_t length);
/* A copy of the message, with another body. */
struct raw_message *raw_message_copy(const struct raw_message *message, const void *body,
				     size_t length);
/* Accepts NULL. */
void raw_message_free(struct raw_message *message);

#endif
