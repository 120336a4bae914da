/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parts of the server and the publisher that need no broker: requests under way and duplicates,
 * the outbox, the assembly of deliveries, and the folder of rejected messages.
 */
#include <glib/gstdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rpc/amqp/consumer.h"
#include "rpc/amqp/outbox.h"
#include "rpc/amqp/unconfirmed.h"
#include "rpc/inflight.h"
#include "rpc/limits.h"
#include "rpc/rejected.h"

static enum inflight_verdict open_again(struct inflight *inflight, const char *id,
					unsigned connection, uint64_t tag_number,
					uint64_t *ret_number)
{
	const struct delivery_tag tag = {
		.connection = connection, .channel = CONSUMER_SERVER, .number = tag_number};

	return inflight_open(inflight, id, &tag, ret_number);
}

static enum inflight_verdict open_request(struct inflight *inflight, const char *id,
					  uint64_t tag_number, uint64_t *ret_number)
{
	return open_again(inflight, id, 0, tag_number, ret_number);
}

/* Opens and acks a request; returns whether it was new. */
static bool is_new(struct inflight *inflight, const char *id)
{
	struct delivery_tag tag;
	uint64_t number;

	if (open_request(inflight, id, 1, &number) != INFLIGHT_NEW)
		return false;
	g_assert_true(inflight_close(inflight, number, true, &tag));
	return true;
}

static void test_duplicates(void)
{
	struct inflight *inflight = inflight_new();
	char id[16];

	for (int i = 0; i < INFLIGHT_SEEN_MAX; i++) {
		g_snprintf(id, sizeof(id), "id-%d", i);
		g_assert_true(is_new(inflight, id));
		g_assert_false(is_new(inflight, id));
	}
	g_assert_false(is_new(inflight, "id-0"));
	/* One more, and the oldest is forgotten; the next one is not. */
	g_assert_true(is_new(inflight, "id-more"));
	g_assert_false(is_new(inflight, "id-1"));
	g_assert_true(is_new(inflight, "id-0"));
	inflight_free(inflight);
}

static void test_redelivered(void)
{
	struct inflight *inflight = inflight_new();
	struct delivery_tag tag;
	uint64_t first, again, other;

	g_assert_cmpint(open_request(inflight, "id", 1, &first), ==, INFLIGHT_NEW);
	g_assert_cmpint(open_request(inflight, NULL, 2, &other), ==, INFLIGHT_NEW);
	/* The ack goes to the latest connection's first delivery, once. A duplicate from the same
	 * connection is acked for itself: the broker would keep the first one for ever. */
	g_assert_cmpint(open_request(inflight, "id", 2, &again), ==, INFLIGHT_DUPLICATE);
	g_assert_cmpint(open_again(inflight, "id", 1, 3, &again), ==, INFLIGHT_REDELIVERED);
	g_assert_cmpint(open_again(inflight, "id", 1, 4, &again), ==, INFLIGHT_DUPLICATE);
	g_assert_true(inflight_close(inflight, first, true, &tag));
	g_assert_cmpuint(tag.connection, ==, 1);
	g_assert_cmpuint(tag.number, ==, 3);
	g_assert_false(inflight_close(inflight, first, true, &tag));
	g_assert_cmpint(open_request(inflight, "id", 4, &again), ==, INFLIGHT_DUPLICATE);
	/* A request that was freed without an ack is new again; one without an id is always new. */
	g_assert_cmpint(open_request(inflight, "other", 5, &first), ==, INFLIGHT_NEW);
	g_assert_true(inflight_close(inflight, first, false, &tag));
	g_assert_cmpint(open_request(inflight, "other", 6, &first), ==, INFLIGHT_NEW);
	g_assert_cmpint(open_request(inflight, NULL, 7, &again), ==, INFLIGHT_NEW);
	g_assert_true(inflight_close(inflight, other, true, &tag));
	g_assert_cmpuint(tag.number, ==, 2);
	inflight_free(inflight);
}

static void count_heartbeat(const char *reply_queue, const char *msg_id, void *opaque)
{
	unsigned *count = opaque;

	g_assert_cmpstr(reply_queue, ==, "reply_1");
	g_assert_cmpstr(msg_id, ==, "call-2");
	(*count)++;
}

static void test_heartbeats(void)
{
	struct inflight *inflight = inflight_new();
	unsigned count = 0;
	gint64 due;

	/* Too short for a heartbeat. */
	inflight_add_call(inflight, 1, 1, "reply_1", "call-1");
	g_assert_cmpint(inflight_send_heartbeats(inflight, count_heartbeat, &count), ==,
			G_MAXINT64);
	inflight_add_call(inflight, 2, 2, "reply_1", "call-2");
	due = inflight_send_heartbeats(inflight, count_heartbeat, &count);
	g_assert_cmpint(due, <=, g_get_monotonic_time() + G_USEC_PER_SEC);
	g_assert_cmpuint(count, ==, 0);
	g_usleep((gulong)MAX(due - g_get_monotonic_time(), 0));
	due = inflight_send_heartbeats(inflight, count_heartbeat, &count);
	g_assert_cmpuint(count, ==, 1);
	g_assert_cmpint(due, >, g_get_monotonic_time());
	/* It is answered. */
	inflight_remove_call(inflight, 2);
	g_assert_cmpint(inflight_send_heartbeats(inflight, count_heartbeat, &count), ==,
			G_MAXINT64);
	inflight_free(inflight);
}

static struct outgoing_message outgoing(const char *key)
{
	struct outgoing_message content = {.exchange = "", .key = key, .timeout_s = 60};

	content.body = cJSON_malloc(3);
	memcpy(content.body, "{}", 3);
	return content;
}

static void test_outbox_order(void)
{
	struct outbox *outbox = outbox_new(3);
	struct outgoing_message a = outgoing("a"), b = outgoing("b"), c = outgoing("c"),
				d = outgoing("d");
	g_autoptr(GError) error = NULL;
	gint64 next = G_MAXINT64;
	struct outbox_message *first, *second;

	g_assert_nonnull(outbox_add(outbox, &a, false, NULL));
	g_assert_nonnull(outbox_add(outbox, &b, false, NULL));
	g_assert_nonnull(outbox_add(outbox, &c, false, NULL));
	g_assert_null(outbox_add(outbox, &d, false, &error));
	g_assert_error(error, RPC_ERROR, RPC_ERROR_OUTBOX_FULL);

	/* Messages that a broken connection left unconfirmed come first again, in their order. */
	first = outbox_take(outbox, NULL, &next);
	second = outbox_take(outbox, NULL, &next);
	g_assert_cmpstr(first->content.key, ==, "a");
	g_assert_cmpstr(second->content.key, ==, "b");
	outbox_requeue(outbox, second, false);
	outbox_requeue(outbox, first, false);
	first = outbox_take(outbox, NULL, &next);
	g_assert_cmpstr(first->content.key, ==, "a");

	/* A message that no queue took becomes the last, and is not taken before its time. */
	first->not_before = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
	outbox_requeue(outbox, first, true);
	for (const char *const *key = (const char *const[]){"b", "c", NULL}; *key; key++) {
		struct outbox_message *message = outbox_take(outbox, NULL, &next);

		g_assert_cmpstr(message->content.key, ==, *key);
		outbox_end(outbox, message, NULL);
	}
	g_assert_null(outbox_take(outbox, NULL, &next));
	g_assert_cmpint(next, ==, first->not_before);
	g_assert_false(outbox_is_empty(outbox));
	g_test_expect_message("rpc", G_LOG_LEVEL_WARNING, "*lost a message for a:*");
	outbox_free(outbox);
	g_test_assert_expected_messages();
}

static struct outbox_message *add_kind(struct outbox *outbox, const char *key, bool transient,
				       bool vital, unsigned timeout_s)
{
	struct outgoing_message content = outgoing(key);

	content.transient = transient;
	content.vital = vital;
	content.timeout_s = timeout_s;
	return outbox_add(outbox, &content, false, NULL);
}

/* Takes all messages; their keys must be these. */
static void expect_keys(struct outbox *outbox, const char *expected)
{
	g_autoptr(GString) keys = g_string_new(NULL);
	struct outbox_message *message;
	gint64 next = G_MAXINT64;

	while ((message = outbox_take(outbox, NULL, &next))) {
		g_string_append(keys, message->content.key);
		outbox_end(outbox, message, NULL);
	}
	g_assert_cmpstr(keys->str, ==, expected);
}

/* Expired messages leave their places first, then transient ones. Vital messages and those whose
 * sender waits always find room. */
static void test_outbox_room(void)
{
	struct outbox *outbox = outbox_new(3);
	struct outgoing_message call = outgoing("C");
	struct outbox_message *waits;

	g_assert_nonnull(add_kind(outbox, "o", false, false, 60));
	g_assert_nonnull(add_kind(outbox, "x", true, false, 1));
	g_assert_nonnull(add_kind(outbox, "t", true, false, 60));
	g_usleep(1100 * 1000);
	g_assert_nonnull(add_kind(outbox, "n", false, false, 60));
	g_assert_nonnull(add_kind(outbox, "m", false, false, 60));
	g_assert_null(add_kind(outbox, "p", false, false, 60));
	g_assert_null(add_kind(outbox, "u", true, false, 60));
	for (unsigned i = 0; i < 5; i++)
		g_assert_nonnull(add_kind(outbox, "V", false, true, 60));
	waits = outbox_add(outbox, &call, true, NULL);
	g_assert_nonnull(waits);
	expect_keys(outbox, "onmVVVVVC");
	g_assert_cmpint(outbox_wait(outbox, waits, NULL), ==, 0);

	/* New progress replaces old progress. */
	g_assert_nonnull(add_kind(outbox, "1", true, false, 60));
	g_assert_nonnull(add_kind(outbox, "2", true, false, 60));
	g_assert_nonnull(add_kind(outbox, "3", true, false, 60));
	g_assert_nonnull(add_kind(outbox, "4", true, false, 60));
	expect_keys(outbox, "234");
	outbox_free(outbox);
}

/* Vital messages have a limit in bytes, and ordinary ones give way to them. */
static void test_outbox_room_in_bytes(void)
{
	struct outbox *outbox = outbox_new(1000);
	size_t length = RPC_MAX_OUTBOX_BYTES / 3;
	unsigned count = 0;

	for (unsigned i = 0; i < 5; i++) {
		struct outgoing_message content = {
			.exchange = "", .key = i < 2 ? "o" : "V", .vital = i >= 2};

		content.body = cJSON_malloc(length + 1);
		memset(content.body, 'x', length);
		content.body[length] = '\0';
		if (i >= 3)
			g_test_expect_message("rpc", G_LOG_LEVEL_WARNING,
					      "*lost a message for o:*");
		if (outbox_add(outbox, &content, false, NULL))
			count++;
	}
	g_test_assert_expected_messages();
	g_assert_cmpuint(count, ==, 5);
	expect_keys(outbox, "VVV");
	outbox_free(outbox);
}

static struct outbox_message *publish_next(struct outbox *outbox, struct unconfirmed *unconfirmed)
{
	gint64 next = G_MAXINT64;
	struct outbox_message *message = outbox_take(outbox, NULL, &next);

	unconfirmed_add(unconfirmed, message);
	return message;
}

/* A returned message is known by its id: messages before it have the same key. */
static void test_returned(void)
{
	struct outbox *outbox = outbox_new(10);
	struct unconfirmed *unconfirmed = unconfirmed_new(outbox, NULL);
	struct outgoing_message content[2] = {outgoing("k"), outgoing("k")};
	struct outbox_message *first, *second;
	g_autoptr(GError) error = NULL;

	content[0].mandatory = content[1].mandatory = true;
	first = outbox_add(outbox, &content[0], true, NULL);
	second = outbox_add(outbox, &content[1], true, NULL);
	g_assert_true(publish_next(outbox, unconfirmed) == first);
	g_assert_true(publish_next(outbox, unconfirmed) == second);
	unconfirmed_mark_returned(unconfirmed, second->id, strlen(second->id));
	unconfirmed_confirm(unconfirmed, 2, true, true);
	g_assert_cmpint(outbox_wait(outbox, first, NULL), ==, 0);
	g_assert_cmpint(outbox_wait(outbox, second, &error), ==, -1);
	g_assert_error(error, RPC_ERROR, RPC_ERROR_NOT_CONFIRMED);
	unconfirmed_free(unconfirmed);
	outbox_free(outbox);
}

/* A message that the broker rejects (basic.nack) is published again like a returned one. */
static void test_rejected(void)
{
	struct outbox *outbox = outbox_new(10);
	struct unconfirmed *unconfirmed = unconfirmed_new(outbox, NULL);
	struct outgoing_message content = outgoing("k");
	struct outbox_message *message;
	g_autoptr(GError) error = NULL;
	gint64 next = G_MAXINT64;

	content.retry_unroutable = true;
	content.timeout_s = 1;
	message = outbox_add(outbox, &content, true, NULL);
	g_assert_true(publish_next(outbox, unconfirmed) == message);
	unconfirmed_confirm(unconfirmed, 1, false, false);
	g_assert_null(outbox_take(outbox, NULL, &next));
	g_usleep((gulong)MAX(next - g_get_monotonic_time(), 0) + 1000);
	g_assert_true(publish_next(outbox, unconfirmed) == message);
	unconfirmed_confirm(unconfirmed, 2, false, false);
	g_assert_cmpint(outbox_wait(outbox, message, &error), ==, -1);
	g_assert_error(error, RPC_ERROR, RPC_ERROR_NOT_CONFIRMED);
	g_assert_nonnull(strstr(error->message, "rejected"));
	unconfirmed_free(unconfirmed);
	outbox_free(outbox);
}

/* Of several messages, it is unknown which one is refused; a single one fails. */
static void test_refused(void)
{
	struct outbox *outbox = outbox_new(10);
	struct unconfirmed *unconfirmed = unconfirmed_new(outbox, NULL);
	struct outgoing_message content[2] = {outgoing("a"), outgoing("b")};
	struct outbox_message *first, *second;
	g_autoptr(GError) error = NULL;

	first = outbox_add(outbox, &content[0], true, NULL);
	second = outbox_add(outbox, &content[1], true, NULL);
	(void)publish_next(outbox, unconfirmed);
	(void)publish_next(outbox, unconfirmed);
	g_assert_cmpuint(unconfirmed_refuse(unconfirmed, "406", 1, RPC_ERROR_REFUSED), ==, 2);
	g_assert_true(publish_next(outbox, unconfirmed) == first);
	g_assert_cmpuint(unconfirmed_refuse(unconfirmed, "404", 2, RPC_ERROR_REFUSED), ==, 1);
	g_assert_true(publish_next(outbox, unconfirmed) == first);
	g_assert_cmpuint(unconfirmed_refuse(unconfirmed, "404", 2, RPC_ERROR_REFUSED), ==, 0);
	g_assert_cmpint(outbox_wait(outbox, first, &error), ==, -1);
	g_assert_error(error, RPC_ERROR, RPC_ERROR_REFUSED);
	g_assert_nonnull(strstr(error->message, "404"));
	g_assert_true(publish_next(outbox, unconfirmed) == second);
	unconfirmed_confirm(unconfirmed, 1, false, true);
	g_assert_cmpint(outbox_wait(outbox, second, NULL), ==, 0);
	unconfirmed_free(unconfirmed);
	outbox_free(outbox);
}

static void send_without_waiting(struct outbox *outbox, const char *key)
{
	struct outgoing_message content = outgoing(key);

	content.vital = true;
	g_assert_nonnull(outbox_add(outbox, &content, false, NULL));
}

/* Takes and publishes what may be published. */
static void expect_published(struct outbox *outbox, struct unconfirmed *unconfirmed,
			     struct silent_targets *silent, const char *keys, bool others_wait)
{
	g_autoptr(GString) published = g_string_new(NULL);
	struct outbox_message *message;
	gint64 next = G_MAXINT64;

	while ((message = outbox_take(outbox, silent, &next))) {
		g_string_append(published, message->content.key);
		silent_targets_published(silent, message->content.exchange, message->content.key);
		unconfirmed_add(unconfirmed, message);
	}
	g_assert_cmpstr(published->str, ==, keys);
	g_assert_cmpint(next < G_MAXINT64, ==, others_wait);
	/* It is not tried again at once. */
	g_assert_cmpint(next, >, g_get_monotonic_time() + G_USEC_PER_SEC);
}

/* "s" is never confirmed. */
static void test_silent_target(void)
{
	struct outbox *outbox = outbox_new(10);
	struct silent_targets *silent = silent_targets_new();
	struct unconfirmed *unconfirmed = unconfirmed_new(outbox, silent);

	send_without_waiting(outbox, "s");
	send_without_waiting(outbox, "s");
	send_without_waiting(outbox, "a");
	send_without_waiting(outbox, "s");
	expect_published(outbox, unconfirmed, silent, "ssas", false);
	/* A connection that is lost sooner says nothing. */
	unconfirmed_note_loss(unconfirmed, g_get_monotonic_time() + 59 * G_USEC_PER_SEC);
	unconfirmed_requeue_all(unconfirmed);
	expect_published(outbox, unconfirmed, silent, "ssas", false);
	g_test_expect_message("rpc", G_LOG_LEVEL_WARNING, "*has not confirmed a message for s *");
	unconfirmed_note_loss(unconfirmed, g_get_monotonic_time() + 61 * G_USEC_PER_SEC);
	g_test_assert_expected_messages();
	unconfirmed_requeue_all(unconfirmed);
	/* Others pass it. */
	expect_published(outbox, unconfirmed, silent, "sa", true);
	unconfirmed_confirm(unconfirmed, 2, false, true);
	send_without_waiting(outbox, "b");
	expect_published(outbox, unconfirmed, silent, "b", true);
	unconfirmed_confirm(unconfirmed, 3, false, true);
	g_assert_cmpuint(outbox_count(outbox), ==, 2);
	g_test_expect_message("rpc", G_LOG_LEVEL_MESSAGE, "*confirms messages for s again*");
	unconfirmed_confirm(unconfirmed, 1, false, true);
	g_test_assert_expected_messages();
	expect_published(outbox, unconfirmed, silent, "ss", false);
	unconfirmed_confirm(unconfirmed, 5, true, true);
	unconfirmed_free(unconfirmed);
	silent_targets_free(silent);
	outbox_free(outbox);
}

/* A broker that was blocked has confirmed nothing meanwhile. */
static void test_age(void)
{
	struct outbox *outbox = outbox_new(10);
	struct unconfirmed *unconfirmed = unconfirmed_new(outbox, NULL);
	gint64 now = g_get_monotonic_time(), due;
	struct outbox_message *message;

	g_assert_cmpint(unconfirmed_overdue_at(unconfirmed), ==, G_MAXINT64);
	send_without_waiting(outbox, "a");
	message = publish_next(outbox, unconfirmed);
	due = unconfirmed_overdue_at(unconfirmed);
	g_assert_cmpint(due, >=, now + 60 * G_USEC_PER_SEC);
	message->published_at -= 100 * G_USEC_PER_SEC;
	g_assert_cmpint(unconfirmed_overdue_at(unconfirmed), <, now);
	unconfirmed_restart_age(unconfirmed);
	g_assert_cmpint(unconfirmed_overdue_at(unconfirmed), >=, due);
	unconfirmed_confirm(unconfirmed, 1, false, true);
	unconfirmed_free(unconfirmed);
	outbox_free(outbox);
}

static void test_outbox_closed(void)
{
	struct outbox *outbox = outbox_new(3);
	struct outgoing_message a = outgoing("a");
	g_autoptr(GError) error = NULL;

	outbox_close(outbox);
	g_assert_null(outbox_add(outbox, &a, false, &error));
	g_assert_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED);
	outbox_free(outbox);
}

/* A sender that waits gives up at its deadline, whatever the publishing thread does. */
static void test_outbox_deadline(void)
{
	struct outbox *outbox = outbox_new(3);
	struct outgoing_message a = outgoing("a"), b = outgoing("b");
	struct outbox_message *waits, *sent, *taken;
	GError *error = NULL;
	gint64 next = G_MAXINT64;

	a.timeout_s = b.timeout_s = 1;
	sent = outbox_add(outbox, &a, true, NULL);
	taken = outbox_take(outbox, NULL, &next);
	g_assert_true(sent == taken);
	waits = outbox_add(outbox, &b, true, NULL);
	outbox_set_broker_error(outbox, "the broker is blocked");
	g_assert_cmpint(outbox_wait(outbox, waits, &error), ==, -1);
	g_assert_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED);
	g_assert_nonnull(strstr(error->message, "the broker is blocked"));
	g_clear_error(&error);
	g_assert_true(outbox_is_empty(outbox));

	g_assert_cmpint(outbox_wait(outbox, sent, &error), ==, -1);
	g_assert_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED);
	g_clear_error(&error);
	/* Its sender has given up, so it is not published again. */
	outbox_requeue(outbox, taken, false);
	g_assert_true(outbox_is_empty(outbox));
	outbox_free(outbox);
}

/* The outbox is bounded in bytes too; one message is always accepted. */
static void test_outbox_bytes(void)
{
	struct outbox *outbox = outbox_new(1000);
	struct outgoing_message large = {.exchange = "", .key = "k", .timeout_s = 60};
	g_autoptr(GError) error = NULL;
	gint64 next = G_MAXINT64;
	struct outbox_message *message;
	unsigned count = 0;

	do {
		struct outgoing_message content = large;
		size_t length = RPC_MAX_OUTBOX_BYTES / 3;

		content.body = cJSON_malloc(length + 1);
		memset(content.body, 'x', length);
		content.body[length] = '\0';
		message = outbox_add(outbox, &content, false, &error);
	} while (message && ++count < 10);
	g_assert_cmpuint(count, ==, 3);
	g_assert_error(error, RPC_ERROR, RPC_ERROR_OUTBOX_FULL);
	/* Each message that leaves makes room for another one. */
	for (unsigned i = 0; i < 3; i++) {
		struct outgoing_message content = outgoing("a");

		message = outbox_take(outbox, NULL, &next);
		g_assert_cmpuint(message->body_bytes, >, 2);
		outbox_requeue(outbox, message, false);
		message = outbox_take(outbox, NULL, &next);
		outbox_end(outbox, message, NULL);
		g_assert_nonnull(outbox_add(outbox, &content, false, NULL));
	}
	while ((message = outbox_take(outbox, NULL, &next)))
		outbox_end(outbox, message, NULL);
	outbox_free(outbox);
}

static amqp_frame_t header_of(uint64_t size)
{
	amqp_frame_t frame = {.frame_type = AMQP_FRAME_HEADER, .channel = CONSUMER_SERVER};

	frame.payload.properties.body_size = size;
	return frame;
}

static amqp_frame_t piece_of(const char *bytes, size_t length)
{
	amqp_frame_t frame = {.frame_type = AMQP_FRAME_BODY, .channel = CONSUMER_SERVER};

	frame.payload.body_fragment.bytes = (void *)bytes;
	frame.payload.body_fragment.len = length;
	return frame;
}

static void test_pieces(void)
{
	struct delivery_assembler assembler = {0};
	amqp_frame_t header = header_of(6), empty = header_of(0);
	amqp_frame_t one = piece_of("abcdef", 6), half = piece_of("abc", 3);

	/* A frame that follows a method other than a delivery. */
	g_assert_cmpint(delivery_add_frame(&assembler, &one, NULL), ==, 0);
	delivery_begin(&assembler, 7, amqp_cstring_bytes("q"));
	g_assert_cmpint(delivery_add_frame(&assembler, &header, NULL), ==, 0);
	g_assert_cmpint(delivery_add_frame(&assembler, &one, NULL), ==, 1);
	g_assert_cmpmem(assembler.body, assembler.length, "abcdef", 6);
	g_assert_true(assembler.body == one.payload.body_fragment.bytes);
	delivery_begin(&assembler, 8, amqp_cstring_bytes("q"));
	g_assert_cmpint(delivery_add_frame(&assembler, &header, NULL), ==, 0);
	g_assert_cmpint(delivery_add_frame(&assembler, &half, NULL), ==, 0);
	g_assert_cmpint(delivery_add_frame(&assembler, &half, NULL), ==, 1);
	g_assert_cmpmem(assembler.body, assembler.length, "abcabc", 6);
	delivery_begin(&assembler, 9, amqp_cstring_bytes("q"));
	g_assert_cmpint(delivery_add_frame(&assembler, &empty, NULL), ==, 1);
	g_assert_cmpuint(assembler.length, ==, 0);
	delivery_reset(&assembler);
}

static void expect_unexpected(struct delivery_assembler *assembler, const amqp_frame_t *frame)
{
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(delivery_add_frame(assembler, frame, &error), ==, -1);
	g_assert_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED);
	delivery_reset(assembler);
}

static void test_unexpected_frames(void)
{
	struct delivery_assembler assembler = {0};
	amqp_frame_t header = header_of(5), half = piece_of("abc", 3);
	amqp_frame_t other = {.frame_type = AMQP_FRAME_HEARTBEAT, .channel = CONSUMER_SERVER};

	delivery_begin(&assembler, 1, amqp_cstring_bytes("q"));
	g_assert_cmpint(delivery_add_frame(&assembler, &header, NULL), ==, 0);
	g_assert_cmpint(delivery_add_frame(&assembler, &half, NULL), ==, 0);
	expect_unexpected(&assembler, &half);
	delivery_begin(&assembler, 2, amqp_cstring_bytes("q"));
	expect_unexpected(&assembler, &half);
	delivery_begin(&assembler, 3, amqp_cstring_bytes("q"));
	expect_unexpected(&assembler, &other);
	delivery_begin(&assembler, 4, amqp_cstring_bytes("q"));
	g_assert_cmpint(delivery_add_frame(&assembler, &header, NULL), ==, 0);
	expect_unexpected(&assembler, &header);
}

/* Only the beginning of a body that is too long is kept, in whatever pieces it comes. */
static void test_too_long(void)
{
	static const size_t sizes[] = {1000003, RPC_MAX_BODY_BYTES + 1};

	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		g_autofree char *bytes = g_strnfill(sizes[i], 'x');
		struct delivery_assembler assembler = {0};
		amqp_frame_t header = header_of(sizes[i] * 17), piece = piece_of(bytes, sizes[i]);

		delivery_begin(&assembler, 1, amqp_cstring_bytes("q"));
		g_assert_cmpint(delivery_add_frame(&assembler, &header, NULL), ==, 0);
		for (int j = 1; j <= 17; j++)
			g_assert_cmpint(delivery_add_frame(&assembler, &piece, NULL), ==, j == 17);
		g_assert_cmpuint(assembler.size, >, RPC_MAX_BODY_BYTES);
		g_assert_cmpuint(assembler.length, ==, RPC_MAX_KEPT_BYTES);
		delivery_reset(&assembler);
	}
}

struct kept {
	GPtrArray *names;
	guint64 bytes;
};

static struct kept list_kept(const char *path)
{
	struct kept kept = {g_ptr_array_new_with_free_func(g_free), 0};
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		char *file = g_build_filename(path, name, NULL);
		struct stat st;

		g_assert_cmpint(stat(file, &st), ==, 0);
		g_assert_cmpint(st.st_mode & 0777, ==, 0600);
		kept.bytes += (guint64)st.st_size;
		g_ptr_array_add(kept.names, file);
	}
	return kept;
}

static void remove_kept(const struct kept *kept)
{
	for (guint i = 0; i < kept->names->len; i++)
		g_unlink(g_ptr_array_index(kept->names, i));
	g_ptr_array_unref(kept->names);
}

static void test_rejected_limits(void)
{
	g_autofree char *tmp = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	g_autofree char *dir = g_build_filename(tmp, "rejected", NULL);
	g_autofree char *content = NULL;
	struct rpc_config config = {
		.rejected_dir = dir, .rejected_max_files = 3, .rejected_max_bytes = 1000};
	g_autofree char *long_body = g_strnfill(600, 'x');
	g_autofree char *too_long = g_strnfill(2000, 'x');
	static const char secret[] = "{\"_context_auth_token\": \"SECRET\", \"broken\"";
	struct kept kept;

	rejected_keep(&config, secret, strlen(secret), "first line\nno second");
	kept = list_kept(dir);
	g_assert_cmpuint(kept.names->len, ==, 1);
	g_assert_true(g_file_get_contents(g_ptr_array_index(kept.names, 0), &content, NULL, NULL));
	g_assert_true(g_str_has_prefix(content, "# first line no second\n"));
	g_assert_null(strstr(content, "SECRET"));
	g_assert_nonnull(strstr(content, "broken"));
	g_ptr_array_unref(kept.names);

	/* There are no more files than allowed, and the newest stay. */
	for (int i = 0; i < 5; i++)
		rejected_keep(&config, "x", 1, "again");
	kept = list_kept(dir);
	g_assert_cmpuint(kept.names->len, ==, 3);
	g_ptr_array_unref(kept.names);

	/* Nor more bytes than allowed: two files of 600 do not fit. */
	rejected_keep(&config, long_body, strlen(long_body), "long");
	rejected_keep(&config, long_body, strlen(long_body), "long");
	kept = list_kept(dir);
	g_assert_cmpuint(kept.names->len, ==, 1);
	g_assert_cmpuint(kept.bytes, <=, 1000);
	g_ptr_array_unref(kept.names);

	g_test_expect_message("rpc", G_LOG_LEVEL_WARNING, "*cannot keep a rejected message*");
	rejected_keep(&config, too_long, strlen(too_long), "too long");
	g_test_assert_expected_messages();
	kept = list_kept(dir);
	g_assert_cmpuint(kept.names->len, ==, 1);
	remove_kept(&kept);
	g_rmdir(dir);
	g_rmdir(tmp);
}

/* Readers of the folder find a file by its name only after its content was written. */
static void test_rejected_is_whole(void)
{
	g_autofree char *dir = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	struct rpc_config config = {
		.rejected_dir = dir, .rejected_max_files = 3, .rejected_max_bytes = 1000};
	_Alignas(struct inotify_event) char buffer[4096];
	int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	struct kept kept;
	ssize_t length;
	unsigned appeared = 0;

	g_assert_cmpint(inotify_add_watch(watch, dir, IN_CREATE | IN_MOVED_TO), >=, 0);
	rejected_keep(&config, "x", 1, "whole");
	length = read(watch, buffer, sizeof(buffer));
	g_assert_cmpint(length, >, 0);
	for (ssize_t at = 0; at < length;) {
		const struct inotify_event *event = (const void *)(buffer + at);

		if (event->name[0] != '.') {
			g_assert_cmpuint(event->mask, ==, IN_MOVED_TO);
			appeared++;
		}
		at += (ssize_t)(sizeof(*event) + event->len);
	}
	close(watch);
	g_assert_cmpuint(appeared, ==, 1);
	kept = list_kept(dir);
	g_assert_cmpuint(kept.names->len, ==, 1);
	remove_kept(&kept);
	g_rmdir(dir);
}

static void test_rejected_no_folder(void)
{
	struct rpc_config config = {.rejected_max_files = 3, .rejected_max_bytes = 1000};

	rejected_keep(&config, "x", 1, "no folder");
	config.rejected_dir = "/proc/novasnap/rejected";
	g_test_expect_message("rpc", G_LOG_LEVEL_WARNING, "*cannot keep a rejected message*");
	rejected_keep(&config, "x", 1, "no such folder");
	g_test_assert_expected_messages();
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/rpc/inflight/duplicates", test_duplicates);
	g_test_add_func("/rpc/inflight/redelivered", test_redelivered);
	g_test_add_func("/rpc/inflight/heartbeats", test_heartbeats);
	g_test_add_func("/rpc/outbox/order", test_outbox_order);
	g_test_add_func("/rpc/outbox/room", test_outbox_room);
	g_test_add_func("/rpc/outbox/room-in-bytes", test_outbox_room_in_bytes);
	g_test_add_func("/rpc/unconfirmed/returned", test_returned);
	g_test_add_func("/rpc/unconfirmed/rejected", test_rejected);
	g_test_add_func("/rpc/unconfirmed/refused", test_refused);
	g_test_add_func("/rpc/unconfirmed/silent-target", test_silent_target);
	g_test_add_func("/rpc/unconfirmed/age", test_age);
	g_test_add_func("/rpc/outbox/closed", test_outbox_closed);
	g_test_add_func("/rpc/outbox/deadline", test_outbox_deadline);
	g_test_add_func("/rpc/outbox/bytes", test_outbox_bytes);
	g_test_add_func("/rpc/delivery/pieces", test_pieces);
	g_test_add_func("/rpc/delivery/unexpected-frames", test_unexpected_frames);
	g_test_add_func("/rpc/delivery/too-long", test_too_long);
	g_test_add_func("/rpc/rejected/limits", test_rejected_limits);
	g_test_add_func("/rpc/rejected/whole", test_rejected_is_whole);
	g_test_add_func("/rpc/rejected/no-folder", test_rejected_no_folder);
	return g_test_run();
}
