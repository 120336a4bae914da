/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The messages that were published on the current connection and that the broker has not confirmed
 * yet (RabbitMQ's publisher confirms). Used by the publishing thread only.
 */
#ifndef NOVASNAP_RPC_AMQP_UNCONFIRMED_H
#define NOVASNAP_RPC_AMQP_UNCONFIRMED_H

#include "rpc/amqp/outbox.h"

struct unconfirmed;

/* Messages go back to this outbox, which must live longer. */
struct unconfirmed *unconfirmed_new(struct outbox *outbox);
/* It must be empty. */
void unconfirmed_free(struct unconfirmed *unconfirmed);

bool unconfirmed_is_empty(const struct unconfirmed *unconfirmed);
/* Whether one more message may be published. The bound in bytes is below what the sockets' buffers
 * hold, so that a broker that stops reading can still tell us (connection.blocked) before a write
 * gets stuck. */
bool unconfirmed_has_room(const struct unconfirmed *unconfirmed);

/* Adds a message that is about to be published, and gives it the next delivery tag. When publishing
 * it fails, the connection is lost and unconfirmed_requeue_all gives it back too. */
void unconfirmed_add(struct unconfirmed *unconfirmed, struct outbox_message *message);

/* The broker has confirmed (`accepted`) or refused the message of that tag, and with `multiple` all
 * before it: ends them in the outbox. */
void unconfirmed_confirm(struct unconfirmed *unconfirmed, uint64_t delivery_tag, bool multiple,
			 bool accepted);
/* The broker returned a message with this routing key (which has no terminator), because no queue
 * took it. Its confirmation follows. */
void unconfirmed_mark_returned(struct unconfirmed *unconfirmed, const char *key, size_t key_length);

/* The connection is lost: gives all back to the outbox, in their order, to be published again. The
 * receiver recognizes a message that it has already by its _unique_id. Tags begin at 1 again. */
void unconfirmed_requeue_all(struct unconfirmed *unconfirmed);

#endif
