/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The messages that the forwarding thread has received and not acked yet, in the order of their
 * arrival. A message that is forwarded is acked when the broker has confirmed its copy. Only the
 * thread uses the list.
 *
 * What must be forwarded is published in this order. If the target queue is missing, or the broker
 * rejects a copy, the message is published again after a pause, and nothing is published meanwhile.
 * Afterwards the messages are published one at a time until the broker confirms one, so that none
 * overtakes another.
 */
#ifndef NOVASNAP_RPC_AMQP_HELD_H
#define NOVASNAP_RPC_AMQP_HELD_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "rpc/amqp/raw-message.h"

struct held;

enum held_state {
	HELD_WAITING,	/* to be published */
	HELD_PUBLISHED, /* not confirmed yet */
	HELD_TAKEN,	/* a request for this process, which has not acked it yet */
	HELD_CONTROL,	/* a control message that is not answered yet */
};

struct held_message {
	enum held_state state;
	uint64_t number;   /* AMQP's delivery tag */
	gint64 arrived_at; /* monotonic us */
	struct raw_message *raw;
	uint64_t confirm; /* HELD_PUBLISHED: the number of its confirmation on the channel */
	bool returned;	  /* no queue has taken it; the confirmation follows */
	/* The body of the answer to a control message, which is published instead of the message.
	 * NULL: not known yet. */
	char *answer;
};

struct held *held_new(void);
void held_free(struct held *held); /* accepts NULL */

/* Adds a message, and takes ownership of `raw`. */
struct held_message *held_add(struct held *held, uint64_t number, struct raw_message *raw,
			      enum held_state state);
/* The message of this delivery tag; NULL if it is not held. */
struct held_message *held_find(struct held *held, uint64_t number);
/* A message of any state is to be published. */
void held_wait(struct held *held, struct held_message *message);
/* Frees a message that was acked or rejected. */
void held_remove(struct held *held, struct held_message *message);
/* Frees all messages: their connection is lost, and the broker delivers them again. */
void held_clear(struct held *held);

unsigned held_count(const struct held *held);
unsigned held_count_taken(const struct held *held);
/* How many bytes the bodies have. */
size_t held_bytes(const struct held *held);
/* The oldest message; NULL if there is none. */
struct held_message *held_oldest(const struct held *held);

/* The next message to publish; NULL if none may be published now. `ret_next` is then the time for
 * the next try, monotonic us; G_MAXINT64: none is due. */
struct held_message *held_next_waiting(struct held *held, gint64 now, gint64 *ret_next);
/* The message was published, as the next one on the channel. */
void held_publish(struct held *held, struct held_message *message);
/* A message was published as the next one on the channel that is not held. */
void held_publish_other(struct held *held);
/* The broker has returned a published message with this body, because no queue takes it. */
void held_return(struct held *held, const void *body, size_t length);
/* The broker has confirmed (`accepted`) or rejected the message of this number, and with `multiple`
 * all before it. Those that were accepted and not returned are removed: appends each to `done`,
 * whose owner frees them with held_message_free. The others wait for a new try. Returns how many
 * do. */
unsigned held_confirm(struct held *held, uint64_t confirm, bool multiple, bool accepted,
		      GPtrArray *done);
void held_message_free(struct held_message *message);
/* The broker has closed the channel, because it refuses one of the published messages. Returns that
 * one if it is known: it was the only one. Otherwise all are published again, one at a time. */
struct held_message *held_channel_closed(struct held *held);

/* Whether the last tries failed, because the target queue is missing or takes nothing. */
bool held_is_refused(const struct held *held);

#endif
