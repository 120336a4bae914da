/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The outbox: what waits for the publishing thread, in order and bounded, and the callers that wait
 * for the broker's word on it.
 */
#include <time.h>

#include "rpc/amqp/outbox.h"

#define WAIT_DEFAULT_S 60

struct outbox {
	unsigned max; /* messages */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	GQueue waiting; /* struct letter, not yet published */
	size_t bytes;	/* of their bodies */
	bool closed;
	char *trouble; /* why nothing is taken just now; NULL: nothing known */
};

struct outbox *outbox_new(unsigned max)
{
	struct outbox *outbox = g_new0(struct outbox, 1);

	outbox->max = max;
	g_queue_init(&outbox->waiting);
	pthread_mutex_init(&outbox->lock, NULL);
	pthread_cond_init(&outbox->changed, NULL);
	return outbox;
}

static struct letter *letter_new(const struct outgoing *message, bool waited)
{
	struct letter *letter = g_new0(struct letter, 1);
	unsigned timeout_s = message->timeout_s;

	letter->message = *message;
	letter->message.exchange = g_strdup(message->exchange);
	letter->message.key = g_strdup(message->key);
	letter->size = strlen(message->body);
	letter->waited = waited;
	if (waited && timeout_s == 0)
		timeout_s = WAIT_DEFAULT_S;
	letter->message.timeout_s = timeout_s;
	if (timeout_s > 0)
		letter->deadline = g_get_monotonic_time() + (gint64)timeout_s * G_USEC_PER_SEC;
	return letter;
}

static void letter_free(struct letter *letter)
{
	cJSON_free(letter->message.body);
	g_free((char *)letter->message.exchange);
	g_free((char *)letter->message.key);
	g_clear_error(&letter->error);
	g_free(letter);
}

/* Under the lock, for the reason of the trouble. */
static GError *too_late(const struct outbox *outbox, const struct letter *letter)
{
	if (letter->unroutable)
		return g_error_new(RPC_ERROR, RPC_ERROR_NOT_CONFIRMED,
				   "no queue takes messages for %s; does its service run?",
				   letter->message.key);
	return g_error_new(RPC_ERROR, RPC_ERROR_DISCONNECTED,
			   "the broker did not take a message for %s in %u s: %s",
			   letter->message.key, letter->message.timeout_s,
			   outbox->trouble ? outbox->trouble : "it did not confirm it");
}

/* Without a caller that waits there is only the log to say it to. */
static void drop(struct letter *letter, GError *error)
{
	if (error && letter->message.transient)
		g_debug("a message for %s is dropped: %s", letter->message.key, error->message);
	else if (error)
		g_warning("a message for %s is lost: %s", letter->message.key, error->message);
	g_clear_error(&error);
	letter_free(letter);
}

void outbox_end(struct outbox *outbox, struct letter *letter, GError *error)
{
	bool waited;

	pthread_mutex_lock(&outbox->lock);
	waited = letter->waited;
	if (waited) {
		letter->error = error;
		letter->state = LETTER_ENDED;
		pthread_cond_broadcast(&outbox->changed);
	}
	pthread_mutex_unlock(&outbox->lock);
	if (waited)
		return;
	if (letter->abandoned)
		g_clear_error(&error);
	drop(letter, error);
}

void outbox_free(struct outbox *outbox)
{
	struct letter *letter;

	while ((letter = g_queue_pop_head(&outbox->waiting)))
		outbox_end(
			outbox, letter,
			g_error_new(RPC_ERROR, RPC_ERROR_DISCONNECTED,
				    "the connection is closed before the broker has taken it%s%s",
				    outbox->trouble ? ": " : "",
				    outbox->trouble ? outbox->trouble : ""));
	g_free(outbox->trouble);
	pthread_cond_destroy(&outbox->changed);
	pthread_mutex_destroy(&outbox->lock);
	g_free(outbox);
}

void outbox_close(struct outbox *outbox)
{
	pthread_mutex_lock(&outbox->lock);
	outbox->closed = true;
	pthread_mutex_unlock(&outbox->lock);
}

bool outbox_is_empty(struct outbox *outbox)
{
	bool empty;

	pthread_mutex_lock(&outbox->lock);
	empty = g_queue_is_empty(&outbox->waiting);
	pthread_mutex_unlock(&outbox->lock);
	return empty;
}

void outbox_set_trouble(struct outbox *outbox, const char *trouble)
{
	pthread_mutex_lock(&outbox->lock);
	g_free(outbox->trouble);
	outbox->trouble = g_strdup(trouble);
	pthread_mutex_unlock(&outbox->lock);
}

char *outbox_trouble(struct outbox *outbox)
{
	char *trouble;

	pthread_mutex_lock(&outbox->lock);
	trouble = g_strdup(outbox->trouble);
	pthread_mutex_unlock(&outbox->lock);
	return trouble;
}

struct letter *outbox_add(struct outbox *outbox, const struct outgoing *message, bool wait,
			  GError **error)
{
	struct letter *letter = letter_new(message, wait);
	unsigned waiting;
	bool full, closed;

	pthread_mutex_lock(&outbox->lock);
	closed = outbox->closed;
	waiting = g_queue_get_length(&outbox->waiting);
	full = waiting >= outbox->max ||
	       (waiting > 0 && outbox->bytes + letter->size > RPC_MAX_OUTBOX_BYTES);
	if (!full && !closed) {
		g_queue_push_tail(&outbox->waiting, letter);
		outbox->bytes += letter->size;
	}
	pthread_mutex_unlock(&outbox->lock);
	if (!full && !closed)
		return letter;
	if (closed)
		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "a message for %s is not sent: the connection is being closed",
			    letter->message.key);
	else
		g_set_error(error, RPC_ERROR, RPC_ERROR_OUTBOX_FULL,
			    "a message for %s is not sent: %u wait for the broker already",
			    letter->message.key, waiting);
	letter_free(letter);
	return NULL;
}

int outbox_wait(struct outbox *outbox, struct letter *letter, GError **error)
{
	struct timespec deadline = {letter->deadline / G_USEC_PER_SEC,
				    (letter->deadline % G_USEC_PER_SEC) * 1000};
	GError *failure = NULL;
	bool ours = true;
	int rc = 0;

	pthread_mutex_lock(&outbox->lock);
	while (letter->state != LETTER_ENDED && rc == 0)
		rc = pthread_cond_clockwait(&outbox->changed, &outbox->lock, CLOCK_MONOTONIC,
					    &deadline);
	if (letter->state == LETTER_ENDED) {
		failure = g_steal_pointer(&letter->error);
	} else {
		failure = too_late(outbox, letter);
		if (letter->state == LETTER_WAITS) {
			g_queue_remove(&outbox->waiting, letter);
			outbox->bytes -= letter->size;
		} else {
			/* The thread has it in its hands, and frees it. */
			letter->waited = false;
			letter->abandoned = true;
			ours = false;
		}
	}
	pthread_mutex_unlock(&outbox->lock);
	if (ours)
		letter_free(letter);
	if (!failure)
		return 0;
	g_propagate_error(error, failure);
	return -1;
}

struct letter *outbox_take(struct outbox *outbox, gint64 *ret_next)
{
	gint64 now = g_get_monotonic_time();
	struct letter *found = NULL, *late;
	GQueue expired = G_QUEUE_INIT;

	pthread_mutex_lock(&outbox->lock);
	for (GList *link = outbox->waiting.head, *next; link && !found; link = next) {
		struct letter *letter = link->data;

		next = link->next;
		/* A caller that waits looks at the deadline itself. */
		if (letter->deadline > 0 && now > letter->deadline && !letter->waited) {
			g_queue_delete_link(&outbox->waiting, link);
			outbox->bytes -= letter->size;
			letter->error = too_late(outbox, letter);
			g_queue_push_tail(&expired, letter);
		} else if (letter->not_before > now) {
			*ret_next = MIN(*ret_next, letter->not_before);
		} else {
			g_queue_delete_link(&outbox->waiting, link);
			outbox->bytes -= letter->size;
			letter->state = LETTER_SENT;
			found = letter;
		}
	}
	pthread_mutex_unlock(&outbox->lock);
	while ((late = g_queue_pop_head(&expired)))
		drop(late, g_steal_pointer(&late->error));
	return found;
}

void outbox_put_back(struct outbox *outbox, struct letter *letter, bool unroutable)
{
	bool abandoned;

	pthread_mutex_lock(&outbox->lock);
	abandoned = letter->abandoned;
	if (!abandoned) {
		letter->state = LETTER_WAITS;
		letter->unroutable = unroutable;
		outbox->bytes += letter->size;
		if (unroutable)
			g_queue_push_tail(&outbox->waiting, letter);
		else
			g_queue_push_head(&outbox->waiting, letter);
	}
	pthread_mutex_unlock(&outbox->lock);
	if (abandoned)
		letter_free(letter);
}
