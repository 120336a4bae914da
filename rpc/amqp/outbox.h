/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The outbox: a bounded queue of messages from their senders to the publishing thread, and the
 * senders that wait for the broker's confirmation.
 *
 * The outbox owns a message while it is queued; the publishing thread owns it between outbox_take
 * and outbox_end or outbox_requeue. All functions except outbox_new and outbox_free may be called
 * from any thread. No other lock is taken while the outbox's lock is held.
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
	char *body;		/* from cJSON's allocator; ownership is taken */
	unsigned expiration_ms; /* 0: none */
	bool mandatory;		/* the broker returns it if no queue takes it */
	bool retry_unroutable;	/* publish a returned or rejected message again until timeout_s */
	bool declare_queue;	/* first declare and bind a queue with the key's name */
	bool transient;		/* not persistent; its loss is not logged as a warning */
	bool vital;		/* accepted by a full outbox */
	unsigned timeout_s;	/* for the broker; 0: none, or a minute if the sender waits */
	gint64 deadline;	/* monotonic us: when `timeout_s` is over; 0: it begins now */
};

enum outbox_state {
	OUTBOX_WAITING,	  /* queued in the outbox */
	OUTBOX_PUBLISHED, /* owned by the publishing thread */
	OUTBOX_ENDED,	  /* confirmed or failed; only if the sender waits */
};

/* A message in the outbox. */
struct outbox_message {
	struct outgoing_message content; /* its strings belong to this message */
	char *id; /* AMQP's message_id: the broker returns a message with it */
	size_t body_bytes;
	gint64 deadline; /* monotonic us; 0: none */

	/* Used only by the publishing thread. */
	gint64 not_before;	   /* monotonic us: when an unroutable message is published again */
	uint64_t delivery_tag;	   /* the broker's tag while the message is unconfirmed */
	gint64 published_at;	   /* monotonic us: on this connection */
	gint64 first_published_at; /* monotonic us: on any connection; 0: it was not */
	bool returned;		   /* the broker had no queue for it */
	unsigned refusals;	   /* how often it was refused while no other one was unconfirmed */

	/* Guarded by the outbox's lock. */
	enum outbox_state state;
	bool unroutable; /* it was returned or rejected, and will be published again */
	bool has_waiter; /* its sender waits for it, and will free it */
	bool abandoned;	 /* its sender stopped waiting */
	GError *error;
};

struct outbox;
struct silent_targets;

/* `max`: the maximum number of queued messages, except vital ones and those whose sender waits. */
struct outbox *outbox_new(unsigned max);
/* Fails all queued messages with RPC_ERROR_DISCONNECTED. Other threads must no longer use the
 * outbox. */
void outbox_free(struct outbox *outbox);
/* Makes outbox_add fail from now on. */
void outbox_close(struct outbox *outbox);
/* No sender waits from now on: outbox_wait fails at once if there is no confirmation yet. */
void outbox_end_waits(struct outbox *outbox);
bool outbox_is_empty(struct outbox *outbox);
/* The number of queued messages. */
unsigned outbox_count(struct outbox *outbox);

/* Sets the reason why the broker accepts nothing at the moment, which is added to time-out errors.
 * The text is copied; NULL: the broker accepts messages, or no reason is known. */
void outbox_set_broker_error(struct outbox *outbox, const char *broker_error);
/* Returns a copy of that text, or NULL. The caller frees it. */
char *outbox_get_broker_error(struct outbox *outbox);

/* For senders: adds a message. With `wait`, the sender must call outbox_wait next; without, the
 * result only says that the message was queued, and failures are logged. Always takes ownership of
 * the body. A full outbox first drops messages that are past their deadline, then the oldest
 * transient ones. Vital messages are limited only by RPC_MAX_OUTBOX_BYTES, for which ordinary ones
 * are dropped, too; messages whose sender waits are limited by the number of senders. Returns NULL
 * with RPC_ERROR_OUTBOX_FULL, or with RPC_ERROR_DISCONNECTED if the outbox is closed. */
struct outbox_message *outbox_add(struct outbox *outbox, const struct outgoing_message *content,
				  bool wait, GError **error);
/* For senders: waits until the broker has confirmed a message that was added with `wait`, up to its
 * deadline, and frees it. Returns 0, or -1 with RPC_ERROR_DISCONNECTED (no confirmation in time: it
 * may have been published), RPC_ERROR_NOT_CONFIRMED (the broker rejected it, or no queue took it)
 * or RPC_ERROR_REFUSED (it was not published). */
int outbox_wait(struct outbox *outbox, struct outbox_message *message, GError **error);

/* For the publishing thread: removes and returns the next message that may be published now, or
 * NULL. Lowers `ret_next` (monotonic us) to the time at which an unroutable message, or one for a
 * target of `silent`, may be published; NULL: no target is silent. Also drops messages that are
 * past their deadline and have no waiting sender. */
struct outbox_message *outbox_take(struct outbox *outbox, const struct silent_targets *silent,
				   gint64 *ret_next);
/* For the publishing thread: returns an unconfirmed message to the outbox. It becomes the first
 * message (so call this for the newest one first); an unroutable one becomes the last. */
void outbox_requeue(struct outbox *outbox, struct outbox_message *message, bool unroutable);
/* For the publishing thread: the broker has confirmed the message, or it failed with `error`, which
 * is taken. Wakes the waiting sender; without one, logs the error and frees the message. */
void outbox_end(struct outbox *outbox, struct outbox_message *message, GError *error);

#endif
