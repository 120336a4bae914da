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
		{"rabbit://nova:pw@ctl//nova", "nova", {{"ctl", "nova", "pw", 5672}}},
		{"rabbit://nova:pw@ctl/%2Fcell%201?ssl=1",
		 "/cell 1",
		 {{"ctl", "nova", "pw", 5672}}},
		{"rabbit://nova:p%40%3A%2Fw%25@ctl/", "/", {{"ctl", "nova", "p@:/w%", 5672}}},
		{"rabbit://nova:a@b@ctl/", "/", {{"ctl", "nova", "a@b", 5672}}},
		{"rabbit://nova@ctl/", "/", {{"ctl", "nova", "", 5672}}},
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
		{"rabbit://nova:hidden@ctl:0/", "port"},
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

/* All brokers are tried at once, one after the other; then there is a pause, which grows up to a
 * limit.
 */
static void test_retry(void)
{
	struct rpc_config config = {
		.retry_interval_s = 1, .retry_backoff_s = 2, .interval_max_s = 4};
	struct transport_url *url = transport_url_parse("rabbit://one,two/", NULL);
	struct broker_retry retry = {0};
	static const unsigned pauses[] = {1, 3, 4, 4};

	broker_retry_reset(&retry, &config);
	for (size_t round = 0; round < G_N_ELEMENTS(pauses); round++) {
		g_assert_cmpuint(retry.broker, ==, 0);
		g_assert_cmpuint(retry.pause_s, ==, pauses[round]);
		retry.not_before = 0;
		broker_retry_failed(&retry, &config, url);
		g_assert_cmpuint(retry.broker, ==, 1);
		g_assert_cmpint(retry.not_before, ==, 0);
		broker_retry_failed(&retry, &config, url);
		g_assert_cmpint(retry.not_before, >, g_get_monotonic_time());
	}
	broker_retry_reset(&retry, &config);
	g_assert_cmpuint(retry.pause_s, ==, 1);
	transport_url_free(url);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/rpc/url/parse", test_parse);
	g_test_add_func("/rpc/url/errors", test_errors);
	g_test_add_func("/rpc/url/retry", test_retry);
	return g_test_run();
}
