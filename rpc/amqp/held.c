/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See held.h.
 */
#include "rpc/amqp/held.h"

#include <string.h>

/* The pause before a message is published again. It is doubled after each failure. */
#define PAUSE_MIN_US (G_USEC_PER_SEC / 4)
#define PAUSE_MAX_US (10 * G_USEC_PER_SEC)
/* Fewer bytes than the sockets' buffers take, so that a broker which stops reading can say
 * connection.blocked before a write gets stuck; a longer message is published alone. */
#define PUBLISHED_MAX_BYTES ((size_t)512 * 1024)

struct held {
	GQueue messages; /* struct held_message, oldest first */
	size_t bytes;
	size_t published_bytes;
	unsigned published;
	unsigned taken;
	uint64_t last_confirm; /* the number of the last publication on the channel */
	/* After a failure one message is published at a time, until one is confirmed. */
	bool one_by_one;
	/* How many more messages may be the one for which the broker closed the channel. */
	unsigned suspects;
	bool refused;
	gint64 pause_us;
	gint64 not_before; /* monotonic us */
};

struct held *held_new(void)
{
	struct held *held = g_new0(struct held, 1);

	g_queue_init(&held->messages);
	held->pause_us = PAUSE_MIN_US;
	return held;
}

void held_free(struct held *held)
{
	if (!held)
		return;
	held_clear(held);
	g_free(held);
}

struct held_message *held_add(struct held *held, uint64_t number, struct raw_message *raw,
			      enum held_state state)
{
	struct held_message *message = g_new0(struct held_message, 1);

	message->state = state;
	message->number = number;
	message->arrived_at = g_get_monotonic_time();
	message->raw = raw;
	held->bytes += raw->length;
	held->taken += state == HELD_TAKEN;
	g_queue_push_tail(&held->messages, message);
	return message;
}

struct held_message *held_find(struct held *held, uint64_t number)
{
	for (GList *node = held->messages.head; node; node = node->next) {
		struct held_message *message = node->data;

		if (message->number == number)
			return message;
	}
	return NULL;
}

void held_wait(struct held *held, struct held_message *message)
{
	if (message->state == HELD_PUBLISHED) {
		held->published--;
		held->published_bytes -= message->raw->length;
	}
	held->taken -= message->state == HELD_TAKEN;
	message->state = HELD_WAITING;
	message->returned = false;
}

void held_message_free(struct held_message *message)
{
	raw_message_free(message->raw);
	g_free(message->answer);
	g_free(message);
}

/* It was taken out of the list. */
static void discount(struct held *held, struct held_message *message)
{
	held_wait(held, message);
	held->bytes -= message->raw->length;
}

void held_remove(struct held *held, struct held_message *message)
{
	(void)g_queue_remove(&held->messages, message);
	discount(held, message);
	held_message_free(message);
}

void held_clear(struct held *held)
{
	struct held_message *message;

	while ((message = g_queue_pop_head(&held->messages))) {
		discount(held, message);
		held_message_free(message);
	}
	held->last_confirm = 0;
	held->one_by_one = false;
	held->suspects = 0;
	held->refused = false;
	held->pause_us = PAUSE_MIN_US;
	held->not_before = 0;
}

unsigned held_count(const struct held *held)
{
	return held->messages.length;
}

unsigned held_count_taken(const struct held *held)
{
	return held->taken;
}

size_t held_bytes(const struct held *held)
{
	return held->bytes;
}

struct held_message *held_oldest(const struct held *held)
{
	return held->messages.head ? held->messages.head->data : NULL;
}

static bool has_room(const struct held *held)
{
	if (held->one_by_one || held->suspects > 0)
		return held->published == 0;
	return held->published == 0 || held->published_bytes < PUBLISHED_MAX_BYTES;
}

struct held_message *held_next_waiting(struct held *held, gint64 now, gint64 *ret_next)
{
	*ret_next = G_MAXINT64;
	if (!has_room(held))
		return NULL;
	for (GList *node = held->messages.head; node; node = node->next) {
		struct held_message *message = node->data;

		if (message->state != HELD_WAITING)
			continue;
		if (now >= held->not_before)
			return message;
		*ret_next = held->not_before;
		return NULL;
	}
	return NULL;
}

void held_publish(struct held *held, struct held_message *message)
{
	message->state = HELD_PUBLISHED;
	message->confirm = ++held->last_confirm;
	message->returned = false;
	held->published++;
	held->published_bytes += message->raw->length;
}

void held_publish_other(struct held *held)
{
	held->last_confirm++;
}

void held_return(struct held *held, const void *body, size_t length)
{
	for (GList *node = held->messages.head; node; node = node->next) {
		struct held_message *message = node->data;

		if (message->state == HELD_PUBLISHED && !message->returned &&
		    message->raw->length == length &&
		    (length == 0 || memcmp(message->raw->body, body, length) == 0)) {
			message->returned = true;
			return;
		}
	}
}

static void note_failure(struct held *held)
{
	held->refused = true;
	held->one_by_one = true;
	held->not_before = g_get_monotonic_time() + held->pause_us;
	held->pause_us = MIN(held->pause_us * 2, PAUSE_MAX_US);
}

static void note_success(struct held *held)
{
	held->refused = false;
	held->one_by_one = false;
	held->suspects -= held->suspects > 0;
	held->pause_us = PAUSE_MIN_US;
	held->not_before = 0;
}

unsigned held_confirm(struct held *held, uint64_t confirm, bool multiple, bool accepted,
		      GPtrArray *done)
{
	unsigned failed = 0, succeeded = 0;

	for (GList *node = held->messages.head, *next; node; node = next) {
		struct held_message *message = node->data;

		next = node->next;
		if (message->state != HELD_PUBLISHED || message->confirm > confirm ||
		    (message->confirm < confirm && !multiple))
			continue;
		if (accepted && !message->returned) {
			succeeded++;
			g_queue_delete_link(&held->messages, node);
			discount(held, message);
			g_ptr_array_add(done, message);
		} else {
			failed++;
			held_wait(held, message);
		}
	}
	if (failed > 0)
		note_failure(held);
	else if (succeeded > 0)
		note_success(held);
	return failed;
}

struct held_message *held_channel_closed(struct held *held)
{
	struct held_message *only = NULL;
	unsigned published = held->published;

	for (GList *node = held->messages.head; node; node = node->next) {
		struct held_message *message = node->data;

		if (message->state != HELD_PUBLISHED)
			continue;
		only = message;
		held_wait(held, message);
	}
	held->last_confirm = 0;
	if (published == 1) {
		held->suspects -= held->suspects > 0;
		return only;
	}
	held->suspects = published;
	return NULL;
}

bool held_is_refused(const struct held *held)
{
	return held->refused;
}
