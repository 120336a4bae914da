/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The messages that the forwarding thread has received and not acked yet, in the order of their
 * arrival. A message that is forwarded is acked when the broker has confirmed its copy. Only the
 * thread uses the list.
 *
 * What must be forwarded is published in this order, one message at a time: the broker may reject
 * or return one copy and accept the next one, which must not overtake it. A copy that is not
 * accepted is published again after a pause.
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
	uint64_t number;    /* AMQP's delivery tag */
	gint64 arrived_at;  /* monotonic us */
	gint64 waits_since; /* monotonic us: it is to be published since then */
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
/* The message that is published and not confirmed; NULL: none is. */
struct held_message *held_published(const struct held *held);
/* The broker has returned the published message, because no queue takes it. */
void held_return(struct held *held);

enum held_result {
	HELD_OTHER,  /* the confirmation is not of the published message */
	HELD_DONE,   /* it was accepted */
	HELD_FAILED, /* it was returned or rejected, and waits for a new try */
};
/* The broker has confirmed (`accepted`) or rejected the message of this number, and with `multiple`
 * all before it. With HELD_DONE the message is removed, and the caller frees *ret_done with
 * held_message_free. */
enum held_result held_confirm(struct held *held, uint64_t confirm, bool multiple, bool accepted,
			      struct held_message **ret_done);
void held_message_free(struct held_message *message);
/* The broker has closed the channel. Returns the message that was published, which waits again;
 * NULL: none was. */
struct held_message *held_channel_closed(struct held *held);

/* Whether the last try failed, because the target queue is missing or takes nothing. */
bool held_is_refused(const struct held *held);
/* Whether messages are to be published, or are published and not confirmed. */
bool held_has_copies(const struct held *held);
/* Since when such messages have waited without a confirmation, monotonic us; 0: there are none. */
gint64 held_stalled_since(const struct held *held);
/* When the published message was published, monotonic us; 0: none is. */
gint64 held_published_at(const struct held *held);

#endif
