/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Published messages that the broker has not confirmed yet.
 */
#include "rpc/amqp/unconfirmed.h"

#include <string.h>

#include "rpc/rpc.h"

#define UNCONFIRMED_MAX 1000
#define UNCONFIRMED_MAX_BYTES ((size_t)512 * 1024)
/* How long the broker may take to confirm a message. */
#define CONFIRM_S 60
/* As long as oslo_messaging waits between two tries to reply. */
#define UNROUTABLE_PAUSE_US (G_USEC_PER_SEC / 4)

struct unconfirmed {
	struct outbox *outbox;
	GQueue messages; /* struct outbox_message, in the order of their tags */
	size_t bytes;	 /* of their bodies */
	uint64_t last_tag;
	struct silent_targets *targets;
};

struct unconfirmed *unconfirmed_new(struct outbox *outbox, struct silent_targets *targets)
{
	struct unconfirmed *unconfirmed = g_new0(struct unconfirmed, 1);

	unconfirmed->outbox = outbox;
	unconfirmed->targets = targets;
	g_queue_init(&unconfirmed->messages);
	return unconfirmed;
}

void unconfirmed_free(struct unconfirmed *unconfirmed)
{
	g_assert(g_queue_is_empty(&unconfirmed->messages));
	g_free(unconfirmed);
}

bool unconfirmed_is_empty(const struct unconfirmed *unconfirmed)
{
	return unconfirmed->messages.length == 0;
}

unsigned unconfirmed_count(const struct unconfirmed *unconfirmed)
{
	return unconfirmed->messages.length;
}

bool unconfirmed_has_room(const struct unconfirmed *unconfirmed)
{
	return unconfirmed->messages.length < UNCONFIRMED_MAX &&
	       unconfirmed->bytes < UNCONFIRMED_MAX_BYTES;
}

gint64 unconfirmed_overdue_at(const struct unconfirmed *unconfirmed)
{
	const struct outbox_message *oldest =
		unconfirmed->messages.head ? unconfirmed->messages.head->data : NULL;

	return oldest ? oldest->published_at + CONFIRM_S * G_USEC_PER_SEC : G_MAXINT64;
}

void unconfirmed_note_loss(struct unconfirmed *unconfirmed, gint64 now)
{
	const struct outbox_message *oldest =
		unconfirmed->messages.head ? unconfirmed->messages.head->data : NULL;

	if (oldest && now >= oldest->first_published_at + CONFIRM_S * G_USEC_PER_SEC)
		silent_targets_add(unconfirmed->targets, oldest->content.exchange,
				   oldest->content.key, CONFIRM_S);
}

void unconfirmed_restart_age(struct unconfirmed *unconfirmed)
{
	gint64 now = g_get_monotonic_time();

	for (GList *node = unconfirmed->messages.head; node; node = node->next) {
		struct outbox_message *message = node->data;

		message->published_at = message->first_published_at = now;
	}
}

void unconfirmed_add(struct unconfirmed *unconfirmed, struct outbox_message *message)
{
	message->delivery_tag = ++unconfirmed->last_tag;
	message->returned = false;
	message->published_at = g_get_monotonic_time();
	if (message->first_published_at == 0)
		message->first_published_at = message->published_at;
	g_queue_push_tail(&unconfirmed->messages, message);
	unconfirmed->bytes += message->body_bytes;
}

static void end_message(struct unconfirmed *unconfirmed, struct outbox_message *message,
			bool accepted)
{
	GError *error = NULL;

	unconfirmed->bytes -= message->body_bytes;
	silent_targets_answered(unconfirmed->targets, message->content.exchange,
				message->content.key);
	if ((message->returned || !accepted) && message->content.retry_unroutable) {
		message->not_before = g_get_monotonic_time() + UNROUTABLE_PAUSE_US;
		outbox_requeue(unconfirmed->outbox, message, true);
		return;
	}
	if (message->returned)
		error = g_error_new(RPC_ERROR, RPC_ERROR_NOT_CONFIRMED,
				    "no queue takes messages for %s; is its service running?",
				    message->content.key);
	else if (!accepted)
		error = g_error_new(RPC_ERROR, RPC_ERROR_NOT_CONFIRMED,
				    "the broker rejected a message for %s", message->content.key);
	outbox_end(unconfirmed->outbox, message, error);
}

void unconfirmed_confirm(struct unconfirmed *unconfirmed, uint64_t delivery_tag, bool multiple,
			 bool accepted)
{
	for (GList *node = unconfirmed->messages.head, *next; node; node = next) {
		struct outbox_message *message = node->data;

		next = node->next;
		if (message->delivery_tag > delivery_tag)
			return;
		if (message->delivery_tag < delivery_tag && !multiple)
			continue;
		g_queue_delete_link(&unconfirmed->messages, node);
		end_message(unconfirmed, message, accepted);
	}
}

void unconfirmed_mark_returned(struct unconfirmed *unconfirmed, const char *id, size_t id_length)
{
	for (GList *node = unconfirmed->messages.head; node; node = node->next) {
		struct outbox_message *message = node->data;

		if (strlen(message->id) == id_length && memcmp(message->id, id, id_length) == 0) {
			message->returned = true;
			return;
		}
	}
}

static void end_refused(struct unconfirmed *unconfirmed, struct outbox_message *message,
			const char *reason, enum rpc_error code)
{
	GError *error;

	if (code == RPC_ERROR_REFUSED)
		error = g_error_new(RPC_ERROR, (int)code,
				    "a message of %zu bytes for %.255s is refused: %s",
				    message->body_bytes, message->content.key, reason);
	else
		error = g_error_new(RPC_ERROR, (int)code,
				    "a message of %zu bytes for %.255s cannot be published: %s",
				    message->body_bytes, message->content.key, reason);
	unconfirmed->bytes -= message->body_bytes;
	outbox_end(unconfirmed->outbox, message, error);
}

unsigned unconfirmed_refuse(struct unconfirmed *unconfirmed, const char *reason, unsigned max,
			    enum rpc_error code)
{
	struct outbox_message *first = g_queue_peek_head(&unconfirmed->messages);
	unsigned requeued;

	if (unconfirmed->messages.length == 1 && ++first->refusals >= max)
		end_refused(unconfirmed, g_queue_pop_head(&unconfirmed->messages), reason, code);
	requeued = unconfirmed->messages.length;
	unconfirmed_requeue_all(unconfirmed);
	return requeued;
}

void unconfirmed_refuse_newest(struct unconfirmed *unconfirmed, const char *reason)
{
	struct outbox_message *newest = g_queue_pop_tail(&unconfirmed->messages);

	if (newest)
		end_refused(unconfirmed, newest, reason, RPC_ERROR_REFUSED);
}

void unconfirmed_requeue_all(struct unconfirmed *unconfirmed)
{
	struct outbox_message *message;

	while ((message = g_queue_pop_tail(&unconfirmed->messages)))
		outbox_requeue(unconfirmed->outbox, message, false);
	unconfirmed->bytes = 0;
	unconfirmed->last_tag = 0;
}
