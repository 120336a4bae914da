/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finds the message that the broker refuses. The broker closes a channel, or the connection,
 * because of one of the unconfirmed messages, and does not say which one. From then on each of
 * them, a suspect, is published alone: the one that is refused again fails, and the others are
 * delivered. Used by the publishing thread only.
 */
#ifndef NOVASNAP_RPC_AMQP_REFUSAL_SEARCH_H
#define NOVASNAP_RPC_AMQP_REFUSAL_SEARCH_H

#include "rpc/amqp/unconfirmed.h"

struct refusal_search {
	struct unconfirmed *unconfirmed; /* belongs to the publisher */
	unsigned suspects;		 /* so many of the next messages are published alone */
	bool alone;			 /* the unconfirmed message is a suspect */
};

/* Whether the next message may be published now: a suspect waits until nothing is unconfirmed. */
bool refusal_search_may_publish(const struct refusal_search *search);
/* The next message is about to be published. */
void refusal_search_begin_message(struct refusal_search *search);

/* The broker closed the channel with this reply code and text. All unconfirmed messages return to
 * the outbox, except one that has been refused too often, which fails with RPC_ERROR_REFUSED.
 * Returns whether everything must be declared again first: the code is not that of a refusal. */
bool refusal_search_channel_closed(struct refusal_search *search, int code, const char *why);
/* The connection is lost. `close_code` is the reply code with which the broker closed it, 0 if it
 * did not. As refusal_search_channel_closed, where the broker closed it because of a message. */
void refusal_search_connection_lost(struct refusal_search *search, int close_code, const char *why);

#endif
