/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The outbox: queued messages for the publishing thread, and the senders that wait for their
 * confirmation.
 */
#include "rpc/amqp/outbox.h"

#include <cjson/cJSON.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "rpc/amqp/silent-targets.h"
#include "rpc/base.h"
#include "rpc/limits.h"
#include "rpc/rpc.h"

#define WAIT_DEFAULT_S 60

struct outbox {
	unsigned max; /* maximum number of messages */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	GQueue waiting; /* struct outbox_message */
	size_t bytes;	/* of their bodies */
	bool closed;
	bool waits_ended;
	char *broker_error; /* why the broker accepts nothing; NULL: no known reason */
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

static struct outbox_message *message_new(const struct outgoing_message *content, bool wait)
{
	struct outbox_message *message = g_new0(struct outbox_message, 1);
	unsigned timeout_s = content->timeout_s;

	message->content = *content;
	message->content.exchange = g_strdup(content->exchange);
	message->content.key = g_strdup(content->key);
	message->id = rpc_hex_id();
	message->body_bytes = strlen(content->body);
	message->has_waiter = wait;
	if (wait && timeout_s == 0)
		timeout_s = WAIT_DEFAULT_S;
	message->content.timeout_s = timeout_s;
	message->deadline = content->deadline;
	if (timeout_s > 0 && message->deadline == 0)
		message->deadline = g_get_monotonic_time() + (gint64)timeout_s * G_USEC_PER_SEC;
	return message;
}

static void message_free(struct outbox_message *message)
{
	cJSON_free(message->content.body);
	g_free((char *)message->content.exchange);
	g_free((char *)message->content.key);
	g_free(message->id);
	g_clear_error(&message->error);
	g_free(message);
}

/* Reads `broker_error`, so call it with the lock held. */
static GError *timeout_error(const struct outbox *outbox, const struct outbox_message *message)
{
	if (message->unroutable && !message->returned)
		return g_error_new(RPC_ERROR, RPC_ERROR_NOT_CONFIRMED,
				   "the broker rejected a message for %s for %u s",
				   message->content.key, message->content.timeout_s);
	if (message->unroutable)
		return g_error_new(RPC_ERROR, RPC_ERROR_NOT_CONFIRMED,
				   "no queue takes messages for %s; is its service running?",
				   message->content.key);
	return g_error_new(RPC_ERROR, RPC_ERROR_DISCONNECTED,
			   "the broker did not accept a message for %s in %u s: %s",
			   message->content.key, message->content.timeout_s,
			   outbox->broker_error ? outbox->broker_error
						: "no confirmation was received");
}

/* Frees a message without a waiting sender; its error can only be logged. */
static void drop_message(struct outbox_message *message, GError *error)
{
	if (error && message->content.transient)
		g_debug("dropping a message for %s: %s", message->content.key, error->message);
	else if (error)
		g_warning("lost a message for %s: %s", message->content.key, error->message);
	g_clear_error(&error);
	message_free(message);
}

void outbox_end(struct outbox *outbox, struct outbox_message *message, GError *error)
{
	bool waited;

	pthread_mutex_lock(&outbox->lock);
	waited = message->has_waiter;
	if (waited) {
		message->error = error;
		message->state = OUTBOX_ENDED;
		pthread_cond_broadcast(&outbox->changed);
	}
	pthread_mutex_unlock(&outbox->lock);
	if (waited)
		return;
	if (message->abandoned)
		g_clear_error(&error);
	drop_message(message, error);
}

void outbox_free(struct outbox *outbox)
{
	struct outbox_message *message;

	while ((message = g_queue_pop_head(&outbox->waiting)))
		outbox_end(
			outbox, message,
			g_error_new(RPC_ERROR, RPC_ERROR_DISCONNECTED,
				    "the connection was closed before the broker confirmed it%s%s",
				    outbox->broker_error ? ": " : "",
				    outbox->broker_error ? outbox->broker_error : ""));
	g_free(outbox->broker_error);
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

void outbox_end_waits(struct outbox *outbox)
{
	pthread_mutex_lock(&outbox->lock);
	outbox->waits_ended = true;
	pthread_cond_broadcast(&outbox->changed);
	pthread_mutex_unlock(&outbox->lock);
}

bool outbox_is_empty(struct outbox *outbox)
{
	return outbox_count(outbox) == 0;
}

unsigned outbox_count(struct outbox *outbox)
{
	unsigned count;

	pthread_mutex_lock(&outbox->lock);
	count = g_queue_get_length(&outbox->waiting);
	pthread_mutex_unlock(&outbox->lock);
	return count;
}

void outbox_set_broker_error(struct outbox *outbox, const char *broker_error)
{
	pthread_mutex_lock(&outbox->lock);
	g_free(outbox->broker_error);
	outbox->broker_error = g_strdup(broker_error);
	pthread_mutex_unlock(&outbox->lock);
}

char *outbox_get_broker_error(struct outbox *outbox)
{
	char *broker_error;

	pthread_mutex_lock(&outbox->lock);
	broker_error = g_strdup(outbox->broker_error);
	pthread_mutex_unlock(&outbox->lock);
	return broker_error;
}

/* The lock is held. */
static bool has_room(const struct outbox *outbox, const struct outbox_message *message)
{
	if (message->has_waiter || outbox->waiting.length == 0)
		return true;
	if (outbox->bytes + message->body_bytes > RPC_MAX_OUTBOX_BYTES)
		return false;
	return message->content.vital || outbox->waiting.length < outbox->max;
}

/* A waiting sender checks the deadline itself. */
static bool is_expired(const struct outbox_message *message, gint64 now)
{
	return message->deadline > 0 && now > message->deadline && !message->has_waiter;
}

/* Moves a queued message to the dropped ones. The lock is held. */
static void remove_message(struct outbox *outbox, GList *node, GError *error, GQueue *dropped)
{
	struct outbox_message *message = node->data;

	g_queue_delete_link(&outbox->waiting, node);
	outbox->bytes -= message->body_bytes;
	message->error = error;
	g_queue_push_tail(dropped, message);
}

static void drop_messages(GQueue *dropped)
{
	struct outbox_message *message;

	while ((message = g_queue_pop_head(dropped)))
		drop_message(message, g_steal_pointer(&message->error));
}

static bool is_transient(const struct outbox_message *message, gint64 now)
{
	(void)now;
	return message->content.transient && !message->has_waiter;
}

static bool is_ordinary(const struct outbox_message *message, gint64 now)
{
	(void)now;
	return !message->content.vital && !message->has_waiter;
}

/* Removes messages of a kind, the oldest first, until there is room. The lock is held. */
static void make_room(struct outbox *outbox, const struct outbox_message *message,
		      bool (*is_kind)(const struct outbox_message *message, gint64 now),
		      GQueue *dropped)
{
	gint64 now = g_get_monotonic_time();

	for (GList *node = outbox->waiting.head, *next; node && !has_room(outbox, message);
	     node = next) {
		struct outbox_message *other = node->data;

		next = node->next;
		if (is_kind(other, now))
			remove_message(outbox, node,
				       is_expired(other, now)
					       ? timeout_error(outbox, other)
					       : g_error_new(RPC_ERROR, RPC_ERROR_OUTBOX_FULL,
							     "too many messages wait for the "
							     "broker"),
				       dropped);
	}
}

struct outbox_message *outbox_add(struct outbox *outbox, const struct outgoing_message *content,
				  bool wait, GError **error)
{
	struct outbox_message *message = message_new(content, wait);
	GQueue dropped = G_QUEUE_INIT;
	unsigned waiting;
	bool full, closed;

	pthread_mutex_lock(&outbox->lock);
	closed = outbox->closed;
	if (!closed) {
		make_room(outbox, message, is_expired, &dropped);
		make_room(outbox, message, is_transient, &dropped);
		if (message->content.vital)
			make_room(outbox, message, is_ordinary, &dropped);
	}
	waiting = g_queue_get_length(&outbox->waiting);
	full = !has_room(outbox, message);
	if (!full && !closed) {
		g_queue_push_tail(&outbox->waiting, message);
		outbox->bytes += message->body_bytes;
	}
	pthread_mutex_unlock(&outbox->lock);
	drop_messages(&dropped);
	if (!full && !closed)
		return message;
	if (closed)
		g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED,
			    "cannot send a message for %s: the connection is being closed",
			    message->content.key);
	else
		g_set_error(error, RPC_ERROR, RPC_ERROR_OUTBOX_FULL,
			    "cannot send a message for %s: %u messages already wait for the broker",
			    message->content.key, waiting);
	message_free(message);
	return NULL;
}

int outbox_wait(struct outbox *outbox, struct outbox_message *message, GError **error)
{
	struct timespec deadline = rpc_timespec(message->deadline);
	GError *failure = NULL;
	bool is_ours = true;
	int rc = 0;

	pthread_mutex_lock(&outbox->lock);
	while (message->state != OUTBOX_ENDED && !outbox->waits_ended && rc == 0)
		rc = pthread_cond_clockwait(&outbox->changed, &outbox->lock, CLOCK_MONOTONIC,
					    &deadline);
	if (message->state == OUTBOX_ENDED) {
		failure = g_steal_pointer(&message->error);
	} else {
		failure = timeout_error(outbox, message);
		if (message->state == OUTBOX_WAITING) {
			g_queue_remove(&outbox->waiting, message);
			outbox->bytes -= message->body_bytes;
		} else {
			/* The publishing thread owns the message, and will free it. */
			message->has_waiter = false;
			message->abandoned = true;
			is_ours = false;
		}
	}
	pthread_mutex_unlock(&outbox->lock);
	if (is_ours)
		message_free(message);
	if (!failure)
		return 0;
	g_propagate_error(error, failure);
	return -1;
}

struct outbox_message *outbox_take(struct outbox *outbox, const struct silent_targets *silent,
				   gint64 *ret_next)
{
	gint64 now = g_get_monotonic_time();
	struct outbox_message *found = NULL;
	GQueue expired = G_QUEUE_INIT;

	pthread_mutex_lock(&outbox->lock);
	for (GList *node = outbox->waiting.head, *next; node && !found; node = next) {
		struct outbox_message *message = node->data;
		gint64 not_before = silent_targets_not_before(silent, message->content.exchange,
							      message->content.key);

		next = node->next;
		not_before = MAX(not_before, message->not_before);
		if (is_expired(message, now)) {
			remove_message(outbox, node, timeout_error(outbox, message), &expired);
		} else if (not_before > now) {
			*ret_next = MIN(*ret_next, not_before);
		} else {
			g_queue_delete_link(&outbox->waiting, node);
			outbox->bytes -= message->body_bytes;
			message->state = OUTBOX_PUBLISHED;
			found = message;
		}
	}
	pthread_mutex_unlock(&outbox->lock);
	drop_messages(&expired);
	return found;
}

void outbox_requeue(struct outbox *outbox, struct outbox_message *message, bool unroutable)
{
	bool abandoned;

	pthread_mutex_lock(&outbox->lock);
	abandoned = message->abandoned;
	if (!abandoned) {
		message->state = OUTBOX_WAITING;
		message->unroutable = unroutable;
		outbox->bytes += message->body_bytes;
		if (unroutable)
			g_queue_push_tail(&outbox->waiting, message);
		else
			g_queue_push_head(&outbox->waiting, message);
	}
	pthread_mutex_unlock(&outbox->lock);
	if (abandoned)
		message_free(message);
}
