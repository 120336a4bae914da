/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The outbox: messages on their way from their senders to the publishing thread, in order and
 * bounded, and the senders that wait for the broker's confirmation.
 *
 * A message belongs to the outbox while it waits, and to the publishing thread between outbox_take
 * and outbox_end or outbox_requeue. All functions but outbox_new and outbox_free may be called from
 * any thread; no other lock is taken while the outbox's own is held.
 */
#ifndef NOVASNAP_RPC_AMQP_OUTBOX_H
#define NOVASNAP_RPC_AMQP_OUTBOX_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A message as its sender describes it. */
struct outgoing_message {
	const char *exchange;	/* "": the default exchange; copied */
	const char *key;	/* the routing key; copied */
	char *body;		/* from cJSON's allocator; taken */
	unsigned expiration_ms; /* 0: none */
	bool mandatory;		/* the broker returns it when no queue takes it */
	bool retry_unroutable;	/* a returned one is published again until timeout_s: its queue
				 * may appear when its owner comes back */
	bool declare_queue;	/* first a queue of the key's name is declared and bound */
	bool transient;	    /* not kept over a restart of the broker; its loss is not a warning */
	unsigned timeout_s; /* how long it may wait for the broker; 0: forever, or a minute when
			     * its sender waits */
};

enum outbox_state {
	OUTBOX_WAITING,	  /* in the outbox */
	OUTBOX_PUBLISHED, /* in the hands of the publishing thread */
	OUTBOX_ENDED,	  /* confirmed or failed; only where the sender waits */
};

/* A message in the outbox. */
struct outbox_message {
	struct outgoing_message content; /* its strings belong to this message */
	size_t body_bytes;
	gint64 deadline; /* monotonic us; 0: none */

	/* Used by the publishing thread only. */
	gint64 not_before;     /* monotonic us: when an unroutable message is tried again */
	uint64_t delivery_tag; /* of the broker's confirmation, while published */
	bool returned;	       /* the broker had no queue for it */

	/* Guarded by the outbox's lock. */
	enum outbox_state state;
	bool unroutable; /* it was returned, and waits to be tried again */
	bool has_waiter; /* its sender waits for it, and frees it */
	bool abandoned;	 /* its sender waited, and has given up */
	GError *error;
};

struct outbox;

/* `max`: how many messages may wait. */
struct outbox *outbox_new(unsigned max);
/* Ends all that still wait, with RPC_ERROR_DISCONNECTED. No other thread may use it any more. */
void outbox_free(struct outbox *outbox);
/* From now on outbox_add fails. */
void outbox_close(struct outbox *outbox);
bool outbox_is_empty(struct outbox *outbox);

/* Sets why the broker accepts nothing at the moment, for the errors of messages that time out. The
 * text is copied; NULL: it accepts messages, or nothing is known. */
void outbox_set_broker_error(struct outbox *outbox, const char *broker_error);
/* Returns a copy of that text, or NULL. The caller frees it. */
char *outbox_get_broker_error(struct outbox *outbox);

/* For senders: adds a message. With `wait` the sender must call outbox_wait next; without, the
 * result only says that the message was accepted, and failures are logged. The body is taken in any
 * case. Returns NULL with RPC_ERROR_OUTBOX_FULL, or with RPC_ERROR_DISCONNECTED when it is closed.
 */
struct outbox_message *outbox_add(struct outbox *outbox, const struct outgoing_message *content,
				  bool wait, GError **error);
/* For senders: waits until the broker has confirmed a message that was added with `wait`, up to its
 * deadline, and frees it. Returns 0, or -1 with RPC_ERROR_DISCONNECTED (no confirmation in time: it
 * may have been published) or RPC_ERROR_NOT_CONFIRMED (refused, or no queue took it). */
int outbox_wait(struct outbox *outbox, struct outbox_message *message, GError **error);

/* For the publishing thread: takes the next message that may be published now, or NULL. Lowers
 * `ret_next` (monotonic us) to the time at which an unroutable message may be tried again. Messages
 * past their deadline that nobody waits for are dropped here. */
struct outbox_message *outbox_take(struct outbox *outbox, gint64 *ret_next);
/* For the publishing thread: gives a message back that the broker did not confirm. It becomes the
 * first one again (so call it for the newest first); an unroutable one becomes the last. */
void outbox_requeue(struct outbox *outbox, struct outbox_message *message, bool unroutable);
/* For the publishing thread: the broker has confirmed the message, or (with an error, which is
 * taken) it failed. Wakes the sender that waits; otherwise logs the error and frees the message. */
void outbox_end(struct outbox *outbox, struct outbox_message *message, GError *error);

#endif
