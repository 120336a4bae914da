/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * transport_url: how it is parsed, the errors for a malformed one, and in which order and when its
 * brokers are tried.
 */
#include "rpc/amqp/retry.h"

struct expected_broker {
	const char *host, *user, *password;
	int port;
};

struct expected {
	const char *url;
	const char *vhost;
	struct expected_broker brokers[3]; /* ends with a NULL host */
};

static void test_parse(void)
{
	static const struct expected cases[] = {
		{"rabbit://", "/", {{"localhost", "guest", "guest", 5672}}},
		{"rabbit:///", "/", {{"localhost", "guest", "guest", 5672}}},
		{"rabbit://stack", "/", {{"stack", "guest", "guest", 5672}}},
		{"rabbit://nova:pw@ctl:5673/", "/", {{"ctl", "nova", "pw", 5673}}},
		{"rabbit://nova:pw@ctl//", "/", {{"ctl", "nova", "pw", 5672}}},
		{"rabbit://nova:pw@ctl/nova", "nova", {{"ctl", "nova", "pw", 5672}}},
		{"rabbit://nova:pw@ctl//nova", "/nova", {{"ctl", "nova", "pw", 5672}}},
		{"rabbit://nova:pw@ctl/a%252Fb", "a/b", {{"ctl", "nova", "pw", 5672}}},
		{" RABBIT://nova:pw@ctl,\nb:c@two/v#x?ssl=1",
		 "v",
		 {{"ctl", "nova", "pw", 5672}, {"two", "b", "c", 5672}}},
		{"rabbit://nova:@ctl:0/", "/", {{"ctl", "nova", "guest", 5672}}},
		{"rabbit://nova:pw@ctl/%2Fcell%201?ssl=1",
		 "/cell 1",
		 {{"ctl", "nova", "pw", 5672}}},
		{"rabbit://nova:p%40%3A%2Fw%25@ctl/", "/", {{"ctl", "nova", "p@:/w%", 5672}}},
		{"rabbit://nova:a@b@ctl/", "/", {{"ctl", "nova", "a@b", 5672}}},
		{"rabbit://nova@ctl/", "/", {{"ctl", "nova", "guest", 5672}}},
		{"rabbit://a:1@[2001:db8::1]:5671,b:2@[::1]/v",
		 "v",
		 {{"2001:db8::1", "a", "1", 5671}, {"::1", "b", "2", 5672}}},
		{"rabbit://a:1@one,b:2@two:7/v",
		 "v",
		 {{"one", "a", "1", 5672}, {"two", "b", "2", 7}}},
		{"kombu+rabbit://ctl/v", "v", {{"ctl", "guest", "guest", 5672}}},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		const struct expected *expected = &cases[i];
		g_autoptr(GError) error = NULL;
		struct transport_url *url = transport_url_parse(expected->url, &error);
		guint count = 0;

		g_test_message("%s", expected->url);
		g_assert_no_error(error);
		g_assert_cmpstr(url->vhost, ==, expected->vhost);
		for (; expected->brokers[count].host; count++) {
			const struct broker_address *address;

			g_assert_cmpuint(count, <, url->brokers->len);
			address = g_ptr_array_index(url->brokers, count);
			g_assert_cmpstr(address->host, ==, expected->brokers[count].host);
			g_assert_cmpstr(address->user, ==, expected->brokers[count].user);
			g_assert_cmpstr(address->password, ==, expected->brokers[count].password);
			g_assert_cmpint(address->port, ==, expected->brokers[count].port);
		}
		g_assert_cmpuint(url->brokers->len, ==, count);
		transport_url_free(url);
	}
}

static void test_errors(void)
{
	static const struct {
		const char *url;
		const char *message_part;
	} cases[] = {
		{NULL, "rabbit://"},
		{"", "rabbit://"},
		{"nova:hidden@ctl/", "rabbit://"},
		{"http://nova:hidden@ctl/", "rabbit://"},
		{"rabbit://nova:hidden@ctl:http/", "port"},
		{"amqp://nova:hidden@ctl/", "AMQP 1.0"},
		{"rabbit://nova:hidden@ctl:-1/", "port"},
		{"rabbit://nova:hidden@/", "has no host"},
		{"rabbit://nova:hidden@ctl/%3Fssl=1", "oslo.messaging cuts"},
		{"rabbit://nova:hidden@ctl/?ssl=%ff", "UTF-8"},
		{"rabbit://nova:hidden@ctl:65536/", "port"},
		{"rabbit://nova:hidden@[::1/", "IPv6"},
		{"rabbit://nova:hidden@[::1]5672/", "IPv6"},
		{"rabbit://nova:hidden%zz@ctl/", "password"},
		{"rabbit://nova:hidden@ctl/%zz", "vhost"},
		{"rabbit://nova:hidden@ctl,nova:hidden@two:x/", "server 2 in the list"},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GError) error = NULL;

		g_test_message("%s", cases[i].url);
		g_assert_null(transport_url_parse(cases[i].url, &error));
		g_assert_error(error, RPC_ERROR, RPC_ERROR_CONFIG);
		g_assert_nonnull(strstr(error->message, "transport_url"));
		g_assert_nonnull(strstr(error->message, cases[i].message_part));
		g_assert_null(strstr(error->message, "hidden"));
	}
}

static void test_options(void)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(GPtrArray) options =
		rpc_url_options("rabbit://h/v?ssl=1&x=&ssl_ca_file=%2Fa+b%20c%zz&ssl=0&y", &error);
	const struct rpc_url_option *option;

	g_assert_no_error(error);
	g_assert_cmpuint(options->len, ==, 2);
	option = g_ptr_array_index(options, 0);
	g_assert_cmpstr(option->name, ==, "ssl");
	g_assert_cmpstr(option->value, ==, "1,0");
	option = g_ptr_array_index(options, 1);
	g_assert_cmpstr(option->name, ==, "ssl_ca_file");
	g_assert_cmpstr(option->value, ==, "/a b c%zz");
}

static void test_equal(void)
{
	g_assert_true(rpc_url_equal("rabbit://a:b@h:5672//?x=1&y=2", "RABBIT://a:b@h?y=2&x=1"));
	g_assert_true(rpc_url_equal("rabbit://guest:guest@h", "rabbit://h/"));
	g_assert_false(rpc_url_equal("rabbit://h/", "rabbit://h/?ssl=1"));
	g_assert_false(rpc_url_equal("rabbit://h/", "rabbit://h/v"));
	g_assert_false(rpc_url_equal("rabbit://h/", "rabbit://h,i/"));
	g_assert_false(rpc_url_equal("rabbit://a:b@h/", "rabbit://a:c@h/"));
	g_assert_false(rpc_url_equal("http://h/", "http://h/"));
}

static void test_describe(void)
{
	g_autofree char *text = rpc_url_describe("rabbit://nova:hidden@h,u:hidden@[::1]:7/v");

	g_assert_cmpstr(text, ==, "user nova at h:5672, user u at [::1]:7, vhost v");
}

static const struct rpc_config retry_config = {
	.retry_interval_s = 2, .retry_backoff_s = 4, .interval_max_s = 8};

/* The pause before the next attempt is about that long. */
static void expect_pause(const struct broker_retry *retry, unsigned about_s)
{
	gint64 pause = retry->not_before - g_get_monotonic_time();

	g_assert_cmpint(pause, >, (gint64)about_s * G_USEC_PER_SEC / 2 - G_USEC_PER_SEC / 4);
	g_assert_cmpint(pause, <=, (gint64)about_s * G_USEC_PER_SEC * 3 / 2);
}

/* All brokers are tried at once, one after the other; then there is a pause, which grows up to a
 * limit.
 */
static void test_retry(void)
{
	struct transport_url *url = transport_url_parse("rabbit://one,two/", NULL);
	struct broker_retry retry;
	static const unsigned pauses[] = {2, 6, 8, 8};
	const struct broker_address *first;

	broker_retry_init(&retry, &retry_config, url);
	first = broker_retry_address(&retry, url);
	for (size_t round = 0; round < G_N_ELEMENTS(pauses); round++) {
		g_assert_true(broker_retry_address(&retry, url) == first);
		retry.not_before = 0;
		broker_retry_failed(&retry, &retry_config);
		g_assert_true(broker_retry_address(&retry, url) != first);
		g_assert_cmpint(retry.not_before, ==, 0);
		broker_retry_failed(&retry, &retry_config);
		expect_pause(&retry, pauses[round]);
	}
	broker_retry_clear(&retry);
	transport_url_free(url);
}

/* A stable connection begins again with the shortest pause, at the same broker. One that dies at
 * once counts as a failure, and never comes again without a pause. */
static void test_retry_after_loss(void)
{
	struct transport_url *url = transport_url_parse("rabbit://one,two/", NULL);
	struct broker_retry retry;
	static const unsigned pauses[] = {2, 6, 8, 8};
	const struct broker_address *before;

	broker_retry_init(&retry, &retry_config, url);
	for (size_t i = 0; i < G_N_ELEMENTS(pauses); i++) {
		before = broker_retry_address(&retry, url);
		broker_retry_connected(&retry);
		broker_retry_lost(&retry, &retry_config);
		g_assert_true(broker_retry_address(&retry, url) != before);
		expect_pause(&retry, pauses[i]);
	}
	before = broker_retry_address(&retry, url);
	broker_retry_connected(&retry);
	retry.connected_at -= 8 * G_USEC_PER_SEC;
	broker_retry_lost(&retry, &retry_config);
	g_assert_true(broker_retry_address(&retry, url) == before);
	expect_pause(&retry, 2);
	broker_retry_clear(&retry);
	transport_url_free(url);
}

/* Each connection has its own order of the brokers, and its own pauses. */
static void test_retry_is_random(void)
{
	struct transport_url *url = transport_url_parse("rabbit://one,two,three/", NULL);
	unsigned firsts[3] = {0}, early = 0, late = 0;

	for (unsigned i = 0; i < 300; i++) {
		struct broker_retry retry;
		bool seen[3] = {false};

		broker_retry_init(&retry, &retry_config, url);
		firsts[retry.order[0]]++;
		for (unsigned j = 0; j < 3; j++) {
			g_assert_false(seen[retry.order[j]]);
			seen[retry.order[j]] = true;
		}
		broker_retry_lost(&retry, &retry_config);
		if (retry.not_before - g_get_monotonic_time() < 2 * G_USEC_PER_SEC)
			early++;
		else
			late++;
		broker_retry_clear(&retry);
	}
	for (unsigned i = 0; i < 3; i++)
		g_assert_cmpuint(firsts[i], >, 50);
	g_assert_cmpuint(early, >, 75);
	g_assert_cmpuint(late, >, 75);
	transport_url_free(url);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/rpc/url/parse", test_parse);
	g_test_add_func("/rpc/url/options", test_options);
	g_test_add_func("/rpc/url/equal", test_equal);
	g_test_add_func("/rpc/url/describe", test_describe);
	g_test_add_func("/rpc/url/errors", test_errors);
	g_test_add_func("/rpc/retry/failures", test_retry);
	g_test_add_func("/rpc/retry/after-loss", test_retry_after_loss);
	g_test_add_func("/rpc/retry/random", test_retry_is_random);
	return g_test_run();
}
