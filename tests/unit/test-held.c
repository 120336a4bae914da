/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The messages that the forwarding thread holds: their order, and what becomes of them by the
 * broker's confirmations, returns and refusals.
 */
#include <glib.h>
#include <string.h>

#include "rpc/amqp/held.h"

static struct held_message *add(struct held *held, uint64_t number, const char *body)
{
	const amqp_basic_properties_t none = {0};
	struct raw_message *raw = raw_message_new(&none);

	raw_message_set_body(raw, body, strlen(body));
	return held_add(held, number, raw, HELD_WAITING);
}

/* Publishes all that may be published now; returns their numbers. */
static char *publish_all(struct held *held, gint64 now)
{
	GString *numbers = g_string_new(NULL);
	struct held_message *message;
	gint64 next;

	while ((message = held_next_waiting(held, now, &next))) {
		held_publish(held, message);
		g_string_append_printf(numbers, "%d ", (int)message->number);
	}
	return g_string_free(numbers, FALSE);
}

static void expect_published(struct held *held, gint64 now, const char *expected)
{
	g_autofree char *numbers = publish_all(held, now);

	g_assert_cmpstr(numbers, ==, expected);
}

static void expect_confirmed(struct held *held, uint64_t confirm, bool multiple, bool accepted,
			     const char *expected, unsigned failed)
{
	g_autoptr(GPtrArray) done =
		g_ptr_array_new_with_free_func((GDestroyNotify)held_message_free);
	g_autoptr(GString) numbers = g_string_new(NULL);

	g_assert_cmpuint(held_confirm(held, confirm, multiple, accepted, done), ==, failed);
	for (guint i = 0; i < done->len; i++)
		g_string_append_printf(numbers, "%d ",
				       (int)((struct held_message *)done->pdata[i])->number);
	g_assert_cmpstr(numbers->str, ==, expected);
}

static void test_confirmed(void)
{
	struct held *held = held_new();

	for (uint64_t i = 1; i <= 5; i++)
		(void)add(held, i, "body");
	expect_published(held, 0, "1 2 3 4 5 ");
	expect_confirmed(held, 2, false, true, "2 ", 0);
	expect_confirmed(held, 4, true, true, "1 3 4 ", 0);
	g_assert_cmpuint(held_count(held), ==, 1);
	g_assert_cmpuint(held_bytes(held), ==, 4);
	held_free(held);
}

/* The queue is missing: all come back, and are published one at a time. */
static void test_returned(void)
{
	struct held *held = held_new();
	gint64 next;

	(void)add(held, 1, "one");
	(void)add(held, 2, "two");
	(void)add(held, 3, "two");
	expect_published(held, 0, "1 2 3 ");
	held_return(held, "one", 3);
	held_return(held, "two", 3);
	held_return(held, "two", 3);
	(void)add(held, 4, "four");
	expect_confirmed(held, 3, true, true, "", 3);
	g_assert_true(held_is_refused(held));
	g_assert_null(held_next_waiting(held, g_get_monotonic_time(), &next));
	g_assert_cmpint(next, >, g_get_monotonic_time());
	expect_published(held, next, "1 ");
	expect_confirmed(held, 4, false, true, "1 ", 0);
	g_assert_false(held_is_refused(held));
	expect_published(held, 0, "2 3 4 ");
	held_free(held);
}

/* Of several only the one that was returned is published again, and before the later ones. */
static void test_rejected(void)
{
	struct held *held = held_new();

	(void)add(held, 1, "one");
	(void)add(held, 2, "two");
	expect_published(held, 0, "1 2 ");
	expect_confirmed(held, 1, false, false, "", 1);
	expect_confirmed(held, 2, false, true, "2 ", 0);
	(void)add(held, 3, "three");
	expect_published(held, G_MAXINT64 - 1, "1 3 ");
	held_free(held);
}

/* The broker does not say which message it refuses. */
static void test_channel_closed(void)
{
	struct held *held = held_new();
	struct held_message *refused;

	for (uint64_t i = 1; i <= 3; i++)
		(void)add(held, i, "body");
	expect_published(held, 0, "1 2 3 ");
	g_assert_null(held_channel_closed(held));
	expect_published(held, 0, "1 ");
	expect_confirmed(held, 1, false, true, "1 ", 0);
	expect_published(held, 0, "2 ");
	refused = held_channel_closed(held);
	g_assert_cmpuint(refused->number, ==, 2);
	held_remove(held, refused);
	expect_published(held, 0, "3 ");
	expect_confirmed(held, 1, false, true, "3 ", 0);
	(void)add(held, 4, "body");
	(void)add(held, 5, "body");
	expect_published(held, 0, "4 5 ");
	held_free(held);
}

/* A request that another thread has taken does not keep the others waiting. */
static void test_taken(void)
{
	struct held *held = held_new();
	struct held_message *taken = add(held, 1, "ours");

	held_remove(held, taken);
	taken = add(held, 2, "ours");
	held_publish(held, taken);
	held_wait(held, taken);
	(void)add(held, 3, "theirs");
	expect_published(held, 0, "2 3 ");
	g_assert_null(held_find(held, 1));
	g_assert_nonnull(held_find(held, 3));
	held_clear(held);
	g_assert_cmpuint(held_count(held), ==, 0);
	g_assert_cmpuint(held_bytes(held), ==, 0);
	held_free(held);
}

/* Messages of more bytes than the sockets' buffers take are published one after the other. */
static void test_large(void)
{
	g_autofree char *large = g_strnfill((gsize)1024 * 1024, 'x');
	struct held *held = held_new();

	(void)add(held, 1, large);
	(void)add(held, 2, large);
	expect_published(held, 0, "1 ");
	expect_confirmed(held, 1, false, true, "1 ", 0);
	expect_published(held, 0, "2 ");
	held_free(held);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/held/confirmed", test_confirmed);
	g_test_add_func("/held/returned", test_returned);
	g_test_add_func("/held/rejected", test_rejected);
	g_test_add_func("/held/channel-closed", test_channel_closed);
	g_test_add_func("/held/taken", test_taken);
	g_test_add_func("/held/large", test_large);
	return g_test_run();
}
