/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The search for the message that a broker refuses, with the real outbox. The broker is a function
 * that refuses every message with the key "bad".
 */
#include <cjson/cJSON.h>
#include <string.h>

#include "rpc/amqp/refusal-search.h"
#include "rpc/rpc.h"

#define MESSAGES_MAX 8
#define ROUNDS_MAX 100

struct fixture {
	struct outbox *outbox;
	struct unconfirmed *unconfirmed;
	struct refusal_search search;
	struct outbox_message *messages[MESSAGES_MAX];
	const char *keys[MESSAGES_MAX];
	unsigned count;
	unsigned published;
	unsigned declared;
	uint64_t tag;
};

static void fixture_set_up(struct fixture *fixture, const char *keys)
{
	g_auto(GStrv) list = g_strsplit(keys, " ", MESSAGES_MAX);
	cJSON *empty = cJSON_CreateObject();

	*fixture = (struct fixture){.outbox = outbox_new(MESSAGES_MAX)};
	fixture->unconfirmed = unconfirmed_new(fixture->outbox, NULL);
	fixture->search.unconfirmed = fixture->unconfirmed;
	for (; list[fixture->count]; fixture->count++) {
		const struct outgoing_message content = {
			.exchange = "nova",
			.key = list[fixture->count],
			.body = cJSON_PrintUnformatted(empty),
			.timeout_s = 60,
		};

		fixture->messages[fixture->count] =
			outbox_add(fixture->outbox, &content, true, NULL);
		g_assert_nonnull(fixture->messages[fixture->count]);
		fixture->keys[fixture->count] = fixture->messages[fixture->count]->content.key;
	}
	cJSON_Delete(empty);
}

static void fixture_tear_down(struct fixture *fixture)
{
	unconfirmed_free(fixture->unconfirmed);
	outbox_free(fixture->outbox);
}

/* Publishes what may be published. Returns whether the broker refuses one of the messages. */
static bool publish_waiting(struct fixture *fixture)
{
	struct outbox_message *message;
	gint64 next = G_MAXINT64;
	bool refused = false;

	while (refusal_search_may_publish(&fixture->search) &&
	       (message = outbox_take(fixture->outbox, NULL, &next))) {
		refusal_search_begin_message(&fixture->search);
		unconfirmed_add(fixture->unconfirmed, message);
		refused = refused || g_str_equal(message->content.key, "bad");
		fixture->tag = message->delivery_tag;
		fixture->published++;
	}
	return refused;
}

/* Lets a broker that closes the channel with this code receive all messages. */
static void run_with_channel_code(struct fixture *fixture, int code)
{
	for (int round = 0; round < ROUNDS_MAX && !outbox_is_empty(fixture->outbox); round++) {
		if (!publish_waiting(fixture))
			unconfirmed_confirm(fixture->unconfirmed, fixture->tag, true, true);
		else if (refusal_search_channel_closed(&fixture->search, code, "refused"))
			fixture->declared++;
	}
	g_assert_true(outbox_is_empty(fixture->outbox));
}

/* The same with a broker that closes the connection. */
static void run_with_close_code(struct fixture *fixture, int code)
{
	for (int round = 0; round < ROUNDS_MAX && !outbox_is_empty(fixture->outbox); round++) {
		if (publish_waiting(fixture))
			refusal_search_connection_lost(&fixture->search, code, "closed");
		else
			unconfirmed_confirm(fixture->unconfirmed, fixture->tag, true, true);
	}
	g_assert_true(outbox_is_empty(fixture->outbox));
}

/* Each good message was delivered, and each bad one failed with this code. */
static void assert_outcomes(struct fixture *fixture, int code)
{
	for (unsigned i = 0; i < fixture->count; i++) {
		g_autoptr(GError) error = NULL;
		bool bad = g_str_equal(fixture->keys[i], "bad");
		int rc = outbox_wait(fixture->outbox, fixture->messages[i], &error);

		g_assert_cmpint(rc, ==, bad ? -1 : 0);
		if (bad)
			g_assert_error(error, RPC_ERROR, code);
	}
}

static void test_only_the_refused_message_fails(void)
{
	static const struct {
		const char *keys;
		unsigned published;
	} cases[] = {
		{"a b c", 3},
		{"bad", 1},
		/* All of them once, and then one after the other. */
		{"a bad b", 6},
		{"bad a bad b bad", 10},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct fixture fixture;

		fixture_set_up(&fixture, cases[i].keys);
		run_with_channel_code(&fixture, 406);
		assert_outcomes(&fixture, RPC_ERROR_REFUSED);
		g_assert_cmpuint(fixture.published, ==, cases[i].published);
		g_assert_cmpuint(fixture.declared, ==, 0);
		g_assert_cmpuint(fixture.search.suspects, ==, 0);
		fixture_tear_down(&fixture);
	}
}

static void test_a_missing_exchange_is_declared_before_a_message_fails(void)
{
	struct fixture fixture;

	fixture_set_up(&fixture, "a bad b");
	run_with_channel_code(&fixture, 404);
	assert_outcomes(&fixture, RPC_ERROR_REFUSED);
	/* When all were unconfirmed, and twice for the one that failed. */
	g_assert_cmpuint(fixture.declared, ==, 3);
	fixture_tear_down(&fixture);
}

static void test_a_closed_connection_fails_the_message_that_closes_it(void)
{
	struct fixture fixture;

	fixture_set_up(&fixture, "a bad b");
	run_with_close_code(&fixture, 501);
	assert_outcomes(&fixture, RPC_ERROR_REFUSED);
	fixture_tear_down(&fixture);
}

static void test_an_error_inside_the_broker_is_no_refusal(void)
{
	struct fixture fixture;

	fixture_set_up(&fixture, "a bad b");
	run_with_close_code(&fixture, 541);
	assert_outcomes(&fixture, RPC_ERROR_DISCONNECTED);
	fixture_tear_down(&fixture);
}

static void test_a_lost_connection_fails_no_message(void)
{
	static const int codes[] = {0, 320};

	for (size_t i = 0; i < G_N_ELEMENTS(codes); i++) {
		struct fixture fixture;

		fixture_set_up(&fixture, "a b bad");
		for (int round = 0; round < 20; round++) {
			g_assert_true(publish_waiting(&fixture));
			g_assert_cmpuint(fixture.tag, ==, 3);
			refusal_search_connection_lost(&fixture.search, codes[i], "lost");
		}
		/* It refuses one of them: a suspect stays one when the connection is lost. */
		g_assert_true(publish_waiting(&fixture));
		g_assert_false(refusal_search_channel_closed(&fixture.search, 406, "refused"));
		g_assert_false(publish_waiting(&fixture));
		refusal_search_connection_lost(&fixture.search, codes[i], "lost");
		g_assert_cmpuint(fixture.search.suspects, ==, 3);
		run_with_channel_code(&fixture, 406);
		assert_outcomes(&fixture, RPC_ERROR_REFUSED);
		fixture_tear_down(&fixture);
	}
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/refusal-search/only_the_refused_message_fails",
			test_only_the_refused_message_fails);
	g_test_add_func("/refusal-search/a_missing_exchange_is_declared_before_a_message_fails",
			test_a_missing_exchange_is_declared_before_a_message_fails);
	g_test_add_func("/refusal-search/a_closed_connection_fails_the_message_that_closes_it",
			test_a_closed_connection_fails_the_message_that_closes_it);
	g_test_add_func("/refusal-search/an_error_inside_the_broker_is_no_refusal",
			test_an_error_inside_the_broker_is_no_refusal);
	g_test_add_func("/refusal-search/a_lost_connection_fails_no_message",
			test_a_lost_connection_fails_no_message);
	return g_test_run();
}
