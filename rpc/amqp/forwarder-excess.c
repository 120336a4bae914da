/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See forwarder-excess.h.
 */
#include "rpc/amqp/forwarder-excess.h"

#include "rpc/amqp/forwarder-queue.h"

/* One message may be larger. */
#define HELD_MAX_BYTES ((size_t)32 * 1024 * 1024)
/* Two, so that a request which another thread has taken does not keep the others waiting. */
#define PREFETCH_SMALL 2
/* Of this size a whole prefetch fits. */
#define COMMON_BYTES (HELD_MAX_BYTES / FORWARDER_PREFETCH)
/* The usual prefetch follows when no larger message has arrived for this long. */
#define CALM_US (60 * G_USEC_PER_SEC)

static void begin_dropping(struct forwarder_link *link)
{
	g_message("%zu bytes of %u messages wait to be forwarded to %s: the next message, of "
		  "%" G_GUINT64_FORMAT " bytes, stays with the broker until they are",
		  held_bytes(link->held), held_count(link->held), link->names->nova_queue,
		  link->arriving.size);
	link->excess.dropping = true;
	link->prefetch = PREFETCH_SMALL;
	if (link->consuming)
		forwarder_link_check_sent(
			link, forwarder_queue_begin_cancel(link->connection, link->names->queue));
	else
		link->excess.cancelled = true;
}

void forwarder_excess_check(struct forwarder_link *link)
{
	struct forwarder_excess *excess = &link->excess;

	if (link->arriving.size > COMMON_BYTES)
		excess->large_at = g_get_monotonic_time();
	if (!excess->dropping && held_count(link->held) > 0 &&
	    link->arriving.size + held_bytes(link->held) > HELD_MAX_BYTES)
		begin_dropping(link);
	link->arriving.keeps_none = excess->dropping;
}

bool forwarder_excess_take(struct forwarder_link *link)
{
	if (!link->arriving.keeps_none)
		return false;
	g_array_append_val(link->excess.numbers, link->arriving.number);
	return true;
}

void forwarder_excess_cancelled(struct forwarder_link *link)
{
	if (!link->excess.dropping)
		return;
	link->excess.cancelled = true;
	link->consuming = false;
}

/* With the small prefetch at most two messages are under way, so that this may wait. */
static void end_small_prefetch(struct forwarder_link *link)
{
	GError *error = NULL;

	if (!link->consuming || link->prefetch == FORWARDER_PREFETCH ||
	    held_count(link->held) > 0 || g_get_monotonic_time() - link->excess.large_at < CALM_US)
		return;
	link->prefetch = FORWARDER_PREFETCH;
	if (forwarder_queue_cancel(link->connection, link->names->queue, &error) == BROKER_OK)
		link->consuming = false;
	else
		forwarder_link_disconnect(link, error);
}

/* What is forwarded comes first: it stands before them. */
void forwarder_excess_update(struct forwarder_link *link)
{
	struct forwarder_excess *excess = &link->excess;

	if (!link->connection)
		return;
	if (!excess->dropping) {
		end_small_prefetch(link);
		return;
	}
	if (!excess->cancelled || held_has_copies(link->held))
		return;
	for (guint i = 0; link->connection && i < excess->numbers->len; i++)
		forwarder_link_check_sent(
			link,
			amqp_basic_reject(broker_amqp_state(link->connection), FORWARDER_CONSUME,
					  g_array_index(excess->numbers, uint64_t, i), 1));
	excess->dropping = excess->cancelled = false;
	g_array_set_size(excess->numbers, 0);
}
