/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See held.h.
 */
#include "rpc/amqp/held.h"

/* The pause before a message is published again. It is doubled after each failure. */
#define PAUSE_MIN_US (G_USEC_PER_SEC / 4)
#define PAUSE_MAX_US (10 * G_USEC_PER_SEC)

struct held {
	GQueue messages; /* struct held_message, oldest first */
	size_t bytes;
	unsigned taken;
	struct held_message *published; /* NULL: none */
	gint64 published_at;		/* monotonic us */
	gint64 done_at;			/* monotonic us: a copy was confirmed, or given up */
	uint64_t last_confirm;		/* the number of the last publication on the channel */
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
	message->arrived_at = message->waits_since = g_get_monotonic_time();
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
	if (message->state == HELD_PUBLISHED)
		held->published = NULL;
	if (message->state == HELD_TAKEN || message->state == HELD_CONTROL)
		message->waits_since = g_get_monotonic_time();
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
	if (message->state == HELD_WAITING || message->state == HELD_PUBLISHED)
		held->done_at = g_get_monotonic_time();
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

static struct held_message *find_waiting(const struct held *held)
{
	for (GList *node = held->messages.head; node; node = node->next) {
		struct held_message *message = node->data;

		if (message->state == HELD_WAITING)
			return message;
	}
	return NULL;
}

struct held_message *held_next_waiting(struct held *held, gint64 now, gint64 *ret_next)
{
	struct held_message *next = held->published ? NULL : find_waiting(held);

	*ret_next = next && now < held->not_before ? held->not_before : G_MAXINT64;
	return now < held->not_before ? NULL : next;
}

void held_publish(struct held *held, struct held_message *message)
{
	message->state = HELD_PUBLISHED;
	message->confirm = ++held->last_confirm;
	message->returned = false;
	held->published = message;
	held->published_at = g_get_monotonic_time();
}

void held_publish_other(struct held *held)
{
	held->last_confirm++;
}

struct held_message *held_published(const struct held *held)
{
	return held->published;
}

void held_return(struct held *held)
{
	if (held->published)
		held->published->returned = true;
}

static void note_failure(struct held *held)
{
	held->refused = true;
	held->not_before = g_get_monotonic_time() + held->pause_us;
	held->pause_us = MIN(held->pause_us * 2, PAUSE_MAX_US);
}

static void note_success(struct held *held)
{
	held->refused = false;
	held->pause_us = PAUSE_MIN_US;
	held->not_before = 0;
}

enum held_result held_confirm(struct held *held, uint64_t confirm, bool multiple, bool accepted,
			      struct held_message **ret_done)
{
	struct held_message *message = held->published;

	if (!message || message->confirm > confirm || (message->confirm < confirm && !multiple))
		return HELD_OTHER;
	if (!accepted || message->returned) {
		held_wait(held, message);
		note_failure(held);
		return HELD_FAILED;
	}
	(void)g_queue_remove(&held->messages, message);
	discount(held, message);
	note_success(held);
	*ret_done = message;
	return HELD_DONE;
}

struct held_message *held_channel_closed(struct held *held)
{
	struct held_message *message = held->published;

	if (message)
		held_wait(held, message);
	held->last_confirm = 0;
	return message;
}

bool held_is_refused(const struct held *held)
{
	return held->refused;
}

/* The oldest one. */
static const struct held_message *find_copy(const struct held *held)
{
	const struct held_message *waiting = find_waiting(held);

	if (!held->published || (waiting && waiting->number < held->published->number))
		return waiting;
	return held->published;
}

bool held_has_copies(const struct held *held)
{
	return find_copy(held) != NULL;
}

gint64 held_stalled_since(const struct held *held)
{
	const struct held_message *oldest = find_copy(held);

	return oldest ? MAX(oldest->waits_since, held->done_at) : 0;
}

gint64 held_published_at(const struct held *held)
{
	return held->published ? held->published_at : 0;
}
