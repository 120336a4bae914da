/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See refusal-search.h.
 */
#include "rpc/amqp/refusal-search.h"

#include "rpc/amqp/librabbitmq.h"

/* How often a message is refused, published alone, until it fails. For other reasons than these,
 * such as a missing exchange (404), everything is declared again first. A broker may also close the
 * connection for a reason of its own. */
#define REFUSALS_MAX 1
#define REFUSALS_MAX_OTHER 2
#define REFUSALS_MAX_CONNECTION 3
/* For errors inside the broker, for example of a quorum queue without a leader. The message is not
 * refused: its sender may send it again. */
#define REFUSALS_MAX_INTERNAL 4

bool refusal_search_may_publish(const struct refusal_search *search)
{
	if (unconfirmed_is_empty(search->unconfirmed))
		return true;
	return !search->alone && search->suspects == 0 && unconfirmed_has_room(search->unconfirmed);
}

void refusal_search_begin_message(struct refusal_search *search)
{
	search->alone = search->suspects > 0;
	if (search->alone)
		search->suspects--;
}

bool refusal_search_channel_closed(struct refusal_search *search, int code, const char *why)
{
	/* The last one also for a message over max_message_size. */
	bool is_final = code == AMQP_CONTENT_TOO_LARGE || code == AMQP_ACCESS_REFUSED ||
			code == AMQP_PRECONDITION_FAILED;

	search->suspects +=
		unconfirmed_refuse(search->unconfirmed, why,
				   is_final ? REFUSALS_MAX : REFUSALS_MAX_OTHER, RPC_ERROR_REFUSED);
	search->alone = false;
	return !is_final;
}

void refusal_search_connection_lost(struct refusal_search *search, int close_code, const char *why)
{
	bool is_internal = close_code == AMQP_RESOURCE_ERROR || close_code == AMQP_INTERNAL_ERROR;

	/* CONNECTION_FORCED: the broker stops, or an operator closed the connection. */
	if (close_code == 0 || close_code == AMQP_CONNECTION_FORCED) {
		if (search->alone && !unconfirmed_is_empty(search->unconfirmed))
			search->suspects++;
		unconfirmed_requeue_all(search->unconfirmed);
	} else if (is_internal) {
		search->suspects += unconfirmed_refuse(
			search->unconfirmed, why, REFUSALS_MAX_INTERNAL, RPC_ERROR_DISCONNECTED);
	} else {
		search->suspects += unconfirmed_refuse(search->unconfirmed, why,
						       REFUSALS_MAX_CONNECTION, RPC_ERROR_REFUSED);
	}
	search->alone = false;
}
