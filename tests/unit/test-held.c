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

/* `done`: the number of the message that is removed; 0: none. */
static void expect_confirmed(struct held *held, uint64_t confirm, bool multiple, bool accepted,
			     enum held_result result, uint64_t done)
{
	struct held_message *message = NULL;

	g_assert_cmpint(held_confirm(held, confirm, multiple, accepted, &message), ==, result);
	g_assert_cmpuint(message ? message->number : 0, ==, done);
	if (message)
		held_message_free(message);
}

static void test_confirmed(void)
{
	struct held *held = held_new();

	for (uint64_t i = 1; i <= 3; i++)
		(void)add(held, i, "body");
	expect_published(held, 0, "1 ");
	expect_published(held, 0, "");
	held_publish_other(held);
	expect_confirmed(held, 2, false, true, HELD_OTHER, 0);
	expect_confirmed(held, 2, true, true, HELD_DONE, 1);
	expect_confirmed(held, 2, true, true, HELD_OTHER, 0);
	expect_published(held, 0, "2 ");
	expect_confirmed(held, 3, false, true, HELD_DONE, 2);
	g_assert_cmpuint(held_count(held), ==, 1);
	g_assert_cmpuint(held_bytes(held), ==, 4);
	held_free(held);
}

/* None overtakes a message that is not accepted. */
static void expect_tried_again(bool returned)
{
	struct held *held = held_new();
	gint64 next;

	(void)add(held, 1, "one");
	(void)add(held, 2, "two");
	expect_published(held, 0, "1 ");
	if (returned)
		held_return(held);
	expect_confirmed(held, 1, false, returned, HELD_FAILED, 0);
	(void)add(held, 3, "three");
	g_assert_true(held_is_refused(held));
	g_assert_null(held_next_waiting(held, g_get_monotonic_time(), &next));
	g_assert_cmpint(next, >, g_get_monotonic_time());
	expect_published(held, next, "1 ");
	expect_confirmed(held, 2, false, true, HELD_DONE, 1);
	g_assert_false(held_is_refused(held));
	expect_published(held, 0, "2 ");
	expect_confirmed(held, 3, false, true, HELD_DONE, 2);
	expect_published(held, 0, "3 ");
	held_free(held);
}

static void test_returned(void)
{
	expect_tried_again(true);
}

static void test_rejected(void)
{
	expect_tried_again(false);
}

/* The only copy that is under way is the one that the broker refuses. */
static void test_channel_closed(void)
{
	struct held *held = held_new();
	struct held_message *refused;

	g_assert_null(held_channel_closed(held));
	(void)add(held, 1, "one");
	(void)add(held, 2, "two");
	expect_published(held, 0, "1 ");
	refused = held_channel_closed(held);
	g_assert_cmpuint(refused->number, ==, 1);
	held_remove(held, refused);
	expect_published(held, 0, "2 ");
	expect_confirmed(held, 1, false, true, HELD_DONE, 2);
	held_free(held);
}

/* A request that another thread has taken does not keep the others waiting. */
static void test_taken(void)
{
	const amqp_basic_properties_t none = {0};
	struct held *held = held_new();
	struct held_message *taken = held_add(held, 1, raw_message_new(&none), HELD_TAKEN);

	(void)held_add(held, 2, raw_message_new(&none), HELD_TAKEN);
	(void)add(held, 3, "theirs");
	(void)add(held, 4, "theirs");
	g_assert_cmpuint(held_count_taken(held), ==, 2);
	expect_published(held, 0, "3 ");
	held_wait(held, taken);
	g_assert_cmpuint(held_count_taken(held), ==, 1);
	expect_confirmed(held, 1, false, true, HELD_DONE, 3);
	expect_published(held, 0, "1 ");
	g_assert_null(held_find(held, 3));
	g_assert_nonnull(held_find(held, 2));
	held_clear(held);
	g_assert_cmpuint(held_count(held), ==, 0);
	g_assert_cmpuint(held_count_taken(held), ==, 0);
	g_assert_cmpuint(held_bytes(held), ==, 0);
	held_free(held);
}

/* What the watchdog sees: a copy that is not confirmed. Requests that this process has taken do not
 * count, nor do messages that arrive. */
static void test_stalled(void)
{
	const amqp_basic_properties_t none = {0};
	struct held *held = held_new();
	gint64 since;

	(void)held_add(held, 1, raw_message_new(&none), HELD_TAKEN);
	g_assert_cmpint(held_stalled_since(held), ==, 0);
	g_assert_false(held_has_copies(held));
	g_assert_cmpint(held_published_at(held), ==, 0);
	(void)add(held, 2, "two");
	since = held_stalled_since(held);
	g_assert_cmpint(since, >, 0);
	expect_published(held, 0, "2 ");
	g_assert_cmpint(held_published_at(held), >=, since);
	g_usleep(1000);
	(void)add(held, 3, "three");
	held_remove(held, held_find(held, 1));
	g_assert_cmpint(held_stalled_since(held), ==, since);
	expect_confirmed(held, 1, false, true, HELD_DONE, 2);
	g_assert_cmpint(held_stalled_since(held), >, since);
	g_assert_true(held_has_copies(held));
	expect_published(held, 0, "3 ");
	expect_confirmed(held, 2, false, true, HELD_DONE, 3);
	g_assert_cmpint(held_stalled_since(held), ==, 0);
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
	g_test_add_func("/held/stalled", test_stalled);
	return g_test_run();
}
