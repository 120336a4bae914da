/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Between those who send and the publishing thread. A letter belongs to the outbox while it waits,
 * and to the publishing thread between outbox_take and outbox_end or outbox_put_back.
 */
#ifndef NOVASNAP_RPC_OUTBOX_H
#define NOVASNAP_RPC_OUTBOX_H

#include <pthread.h>
#include <string.h>

#include "rpc/internal.h"

enum letter_state { LETTER_WAITS, LETTER_SENT, LETTER_ENDED };

struct letter {
	struct outgoing message; /* its strings are the letter's own */
	size_t size;		 /* of the body, bytes */
	gint64 deadline;	 /* monotonic us; 0: none */

	/* The publishing thread's own. */
	gint64 not_before; /* monotonic us: an unroutable one pauses */
	uint64_t tag;	   /* the broker's number of it, while sent */
	bool returned;	   /* the broker had no queue for it */

	/* Guarded by the outbox's lock. */
	enum letter_state state;
	bool unroutable; /* it was returned, and waits for a queue to come */
	bool waited;	 /* a caller waits, and frees it */
	bool abandoned;	 /* a caller waited, and has gone */
	GError *error;
};

struct outbox;

struct outbox *outbox_new(unsigned max);
/* Ends what still waits. Nobody else may use it any more. */
void outbox_free(struct outbox *outbox);
/* Takes no more from senders. */
void outbox_close(struct outbox *outbox);
bool outbox_is_empty(struct outbox *outbox);
/* Why the broker takes nothing just now, for the errors of those who wait; NULL: it does. */
void outbox_set_trouble(struct outbox *outbox, const char *trouble);
/* A copy of it. */
char *outbox_trouble(struct outbox *outbox);

/* The senders' side. The body is taken in any case. NULL when the outbox is full or closed. */
struct letter *outbox_add(struct outbox *outbox, const struct outgoing *message, bool wait,
			  GError **error);
/* Waits for the broker's word on a letter that was added with `wait`, up to its deadline. */
int outbox_wait(struct outbox *outbox, struct letter *letter, GError **error);

/* The publishing thread's side. */

/* The next one that may be published now, or NULL; `ret_next` is lowered to when one of those that
 * pause may. What is too late, and nobody waits for, ends here. */
struct letter *outbox_take(struct outbox *outbox, gint64 *ret_next);
/* Not taken by the broker: again at the head (call it for the newest first), or, when no queue took
 * it, at the tail. */
void outbox_put_back(struct outbox *outbox, struct letter *letter, bool unroutable);
/* Taken, or (with an error, which is taken) not: who waits is told, else it is freed. */
void outbox_end(struct outbox *outbox, struct letter *letter, GError *error);

#endif
