/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The messages that were published on the current connection and that the broker has not confirmed
 * yet (RabbitMQ's publisher confirms). Used by the publishing thread only.
 */
#ifndef NOVASNAP_RPC_AMQP_UNCONFIRMED_H
#define NOVASNAP_RPC_AMQP_UNCONFIRMED_H

#include "rpc/amqp/outbox.h"
#include "rpc/amqp/silent-targets.h"
#include "rpc/rpc.h"

struct unconfirmed;

/* Unconfirmed messages return to this outbox. It and the targets must outlive the list. */
struct unconfirmed *unconfirmed_new(struct outbox *outbox, struct silent_targets *targets);
/* Must be empty. */
void unconfirmed_free(struct unconfirmed *unconfirmed);

bool unconfirmed_is_empty(const struct unconfirmed *unconfirmed);
/* Whether another message may be published. The limit in bytes is below the size of the sockets'
 * buffers, so that connection.blocked from a broker that stopped reading arrives before a write
 * gets stuck. */
bool unconfirmed_has_room(const struct unconfirmed *unconfirmed);

/* The number of messages. */
unsigned unconfirmed_count(const struct unconfirmed *unconfirmed);

/* When the oldest message is overdue, monotonic us: its target does not confirm, or the broker has
 * stopped reading because of it, and the connection must be given up. G_MAXINT64: there is none. */
gint64 unconfirmed_overdue_at(const struct unconfirmed *unconfirmed);
/* The connection is lost: if the oldest message is overdue, also counting the time on earlier
 * connections, its target is silent from now on. Call it before the messages are requeued. */
void unconfirmed_note_loss(struct unconfirmed *unconfirmed, gint64 now);
/* The broker reads again after it was blocked: it has as much time as for new messages. */
void unconfirmed_restart_age(struct unconfirmed *unconfirmed);

/* Adds a message that is about to be published, and assigns the next delivery tag. If publishing
 * fails, the connection is lost, and unconfirmed_requeue_all requeues this message, too. */
void unconfirmed_add(struct unconfirmed *unconfirmed, struct outbox_message *message);

/* The broker has confirmed (`accepted`) or rejected the message of that tag, and with `multiple`
 * all messages before it: ends them in the outbox. */
void unconfirmed_confirm(struct unconfirmed *unconfirmed, uint64_t delivery_tag, bool multiple,
			 bool accepted);
/* The broker returned the message with this message_id (not NUL-terminated), because no queue took
 * it. Its confirmation follows. */
void unconfirmed_mark_returned(struct unconfirmed *unconfirmed, const char *id, size_t id_length);

/* The broker closed the channel or the connection because of one of the messages, and its `reason`
 * does not say which one. If there is a single message, it ends with `code` when it was refused
 * `max` times. All others are requeued, as by unconfirmed_requeue_all. Returns how many
 * were requeued: each of these must be published alone, to find out which one is refused. */
unsigned unconfirmed_refuse(struct unconfirmed *unconfirmed, const char *reason, unsigned max,
			    enum rpc_error code);
/* Ends the newest message with RPC_ERROR_REFUSED. */
void unconfirmed_refuse_newest(struct unconfirmed *unconfirmed, const char *reason);

/* The connection is lost: requeues all messages in their order, to be published again. A receiver
 * recognizes duplicates by their _unique_id. Tags start at 1 again. */
void unconfirmed_requeue_all(struct unconfirmed *unconfirmed);

#endif
