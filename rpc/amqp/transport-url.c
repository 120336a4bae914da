/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Parses transport_url as oslo_messaging.transport.TransportURL.parse does, and kombu after it.
 */
#include "rpc/amqp/transport-url.h"

#include <string.h>

#include "rpc/rpc.h"

#define DEFAULT_HOST "localhost"
#define DEFAULT_PORT 5672
/* kombu's default for a user or a password that is missing or empty. */
#define DEFAULT_LOGIN "guest"

static void address_free(gpointer data)
{
	struct broker_address *address = data;

	g_free(address->host);
	g_free(address->user);
	g_free(address->password);
	g_free(address);
}

static void option_free(gpointer data)
{
	struct rpc_url_option *option = data;

	g_free(option->name);
	g_free(option->value);
	g_free(option);
}

void transport_url_free(struct transport_url *url)
{
	if (!url)
		return;
	g_ptr_array_unref(url->brokers);
	g_ptr_array_unref(url->options);
	g_free(url->vhost);
	g_free(url);
}

static int url_error(GError **error, const char *reason)
{
	g_set_error(error, RPC_ERROR, RPC_ERROR_CONFIG,
		    "transport_url: %s; it must look like "
		    "rabbit://user:password@host:5672/vhost",
		    reason);
	return -1;
}

static char *unescape(const char *start, size_t length)
{
	return g_uri_unescape_segment(start, start + length, NULL);
}

static int parse_host(struct broker_address *address, const char *text, GError **error)
{
	const char *port = NULL;
	guint64 number = DEFAULT_PORT;

	if (*text == '[') {
		const char *end = strchr(text, ']');

		if (!end || (end[1] && end[1] != ':'))
			return url_error(error, "an IPv6 address has no closing bracket");
		address->host = g_strndup(text + 1, (gsize)(end - text - 1));
		port = end[1] ? end + 2 : NULL;
	} else {
		const char *colon = strchr(text, ':');

		address->host = unescape(text, colon ? (size_t)(colon - text) : strlen(text));
		port = colon ? colon + 1 : NULL;
	}
	if (!address->host)
		return url_error(error, "a host is not percent-encoded correctly");
	if (!*address->host)
		return url_error(error, "a server has no host");
	if (port && *port && !g_ascii_string_to_unsigned(port, 10, 0, 65535, &number, NULL))
		return url_error(error, "a port is not a number from 1 to 65535");
	address->port = number > 0 ? (int)number : DEFAULT_PORT;
	return 0;
}

static char *unescape_login(const char *start, size_t length)
{
	return length > 0 ? unescape(start, length) : g_strdup(DEFAULT_LOGIN);
}

static int parse_broker(struct transport_url *url, const char *text, GError **error)
{
	struct broker_address *address = g_new0(struct broker_address, 1);
	const char *at = strrchr(text, '@');
	const char *colon = at ? memchr(text, ':', (size_t)(at - text)) : NULL;
	const char *user_end = colon ? colon : at;

	g_ptr_array_add(url->brokers, address);
	address->user = unescape_login(text, at ? (size_t)(user_end - text) : 0);
	address->password =
		unescape_login(colon ? colon + 1 : text, colon ? (size_t)(at - colon - 1) : 0);
	if (!address->user || !address->password)
		return url_error(error, "a user or password is not percent-encoded correctly");
	return parse_host(address, at ? at + 1 : text, error);
}

static int parse_brokers(struct transport_url *url, const char *text, GError **error)
{
	g_auto(GStrv) list = g_strsplit(text, ",", -1);

	for (char **item = list; *item; item++) {
		if (**item && parse_broker(url, *item, error) < 0) {
			if (g_strv_length(list) > 1)
				g_prefix_error(error, "server %u in the list: ", url->brokers->len);
			return -1;
		}
	}
	return url->brokers->len > 0 ? 0 : parse_broker(url, DEFAULT_HOST, error);
}

/* urllib.parse.unquote: an escape that is not one stays as it is. */
static char *unquote(const char *text)
{
	GString *out = g_string_new(NULL);

	for (; *text; text++) {
		if (*text == '%' && g_ascii_isxdigit(text[1]) && g_ascii_isxdigit(text[2])) {
			g_string_append_c(out, (char)(g_ascii_xdigit_value(text[1]) * 16 +
						      g_ascii_xdigit_value(text[2])));
			text += 2;
		} else {
			g_string_append_c(out, *text);
		}
	}
	return g_string_free(out, FALSE);
}

/* oslo decodes the path and puts it into a URL again, which kombu decodes once more. */
static int parse_vhost(struct transport_url *url, const char *path, GError **error)
{
	g_autofree char *once = g_uri_unescape_string(path, NULL);

	if (!once)
		return url_error(error, "the vhost is not percent-encoded correctly");
	if (strpbrk(once, "?#;"))
		return url_error(error,
				 "the vhost contains ?, # or ;, where oslo.messaging cuts it");
	url->vhost = unquote(once);
	if (!*url->vhost) {
		g_free(url->vhost);
		url->vhost = g_strdup("/");
	}
	return 0;
}

static struct rpc_url_option *find_option(const struct transport_url *url, const char *name)
{
	for (guint i = 0; i < url->options->len; i++) {
		struct rpc_url_option *option = g_ptr_array_index(url->options, i);

		if (g_str_equal(option->name, name))
			return option;
	}
	return NULL;
}

/* urllib.parse.parse_qs, with all values of one name joined by commas, as oslo does. */
static int parse_query(struct transport_url *url, const char *query, GError **error)
{
	g_auto(GStrv) fields = g_strsplit(query, "&", -1);

	for (char **field = fields; *field; field++) {
		char *sign = strchr(*field, '=');
		struct rpc_url_option *option;
		g_autofree char *name = NULL;
		g_autofree char *value = NULL;

		if (!sign || !sign[1])
			continue;
		*sign = '\0';
		name = unquote(g_strdelimit(*field, "+", ' '));
		value = unquote(g_strdelimit(sign + 1, "+", ' '));
		if (!g_utf8_validate(name, -1, NULL) || !g_utf8_validate(value, -1, NULL))
			return url_error(error, "its query is not UTF-8 text");
		option = find_option(url, name);
		if (option) {
			char *joined = g_strconcat(option->value, ",", value, NULL);

			g_free(option->value);
			option->value = joined;
			continue;
		}
		option = g_new0(struct rpc_url_option, 1);
		option->name = g_steal_pointer(&name);
		option->value = g_steal_pointer(&value);
		g_ptr_array_add(url->options, option);
	}
	return 0;
}

/* The text as urllib.parse.urlsplit takes it: without line breaks and tabs, and without spaces and
 * control characters in front. */
static char *clean_url(const char *text)
{
	GString *out = g_string_new(NULL);

	while (*text > 0 && *text <= ' ')
		text++;
	for (; *text; text++) {
		if (*text != '\t' && *text != '\r' && *text != '\n')
			g_string_append_c(out, *text);
	}
	return g_string_free(out, FALSE);
}

/* The length of the scheme and "://"; 0 with an error if it is none of RabbitMQ's. */
static size_t parse_scheme(const char *text, GError **error)
{
	static const char *const schemes[] = {"rabbit://", "kombu+rabbit://", "kombu+amqp://"};

	for (size_t i = 0; i < G_N_ELEMENTS(schemes); i++) {
		if (g_ascii_strncasecmp(text, schemes[i], strlen(schemes[i])) == 0)
			return strlen(schemes[i]);
	}
	(void)url_error(error, g_ascii_strncasecmp(text, "amqp", 4) == 0
				       ? "amqp:// is AMQP 1.0, which novasnap does not speak"
				       : "it does not start with rabbit://");
	return 0;
}

static int parse_url(struct transport_url *url, const char *text, GError **error)
{
	g_autofree char *cleaned = clean_url(text ? text : "");
	size_t scheme = parse_scheme(cleaned, error);
	char *rest = cleaned + scheme;
	char *query, *path;

	if (scheme == 0)
		return -1;
	rest[strcspn(rest, "#")] = '\0';
	query = rest + strcspn(rest, "?");
	if (*query)
		*query++ = '\0';
	path = rest + strcspn(rest, "/");
	if (*path)
		*path++ = '\0';
	if (parse_brokers(url, rest, error) < 0 || parse_vhost(url, path, error) < 0)
		return -1;
	return parse_query(url, query, error);
}

struct transport_url *transport_url_parse(const char *text, GError **error)
{
	struct transport_url *url = g_new0(struct transport_url, 1);

	url->brokers = g_ptr_array_new_with_free_func(address_free);
	url->options = g_ptr_array_new_with_free_func(option_free);
	if (parse_url(url, text, error) == 0)
		return url;
	transport_url_free(url);
	return NULL;
}

GPtrArray *rpc_url_options(const char *url, GError **error)
{
	struct transport_url *parsed = transport_url_parse(url, error);
	GPtrArray *options = parsed ? g_ptr_array_ref(parsed->options) : NULL;

	transport_url_free(parsed);
	return options;
}

static bool address_equal(const struct broker_address *a, const struct broker_address *b)
{
	return g_str_equal(a->host, b->host) && a->port == b->port &&
	       g_str_equal(a->user, b->user) && g_str_equal(a->password, b->password);
}

static bool option_equal(const struct rpc_url_option *a, const struct transport_url *url)
{
	const struct rpc_url_option *b = find_option(url, a->name);

	return b && g_str_equal(a->value, b->value);
}

static bool url_equal(const struct transport_url *a, const struct transport_url *b)
{
	bool equal = a->brokers->len == b->brokers->len && a->options->len == b->options->len &&
		     g_str_equal(a->vhost, b->vhost);

	for (guint i = 0; equal && i < a->brokers->len; i++)
		equal = address_equal(a->brokers->pdata[i], b->brokers->pdata[i]);
	for (guint i = 0; equal && i < a->options->len; i++)
		equal = option_equal(a->options->pdata[i], b);
	return equal;
}

bool rpc_url_equal(const char *a, const char *b)
{
	struct transport_url *first = transport_url_parse(a, NULL);
	struct transport_url *second = transport_url_parse(b, NULL);
	bool equal = first && second && url_equal(first, second);

	transport_url_free(first);
	transport_url_free(second);
	return equal;
}

char *rpc_url_describe(const char *url)
{
	struct transport_url *parsed = transport_url_parse(url, NULL);
	GString *out = g_string_new(NULL);

	for (guint i = 0; parsed && i < parsed->brokers->len; i++) {
		const struct broker_address *address = parsed->brokers->pdata[i];

		g_string_append_printf(out,
				       strchr(address->host, ':') ? "user %s at [%s]:%d, "
								  : "user %s at %s:%d, ",
				       address->user, address->host, address->port);
	}
	if (parsed)
		g_string_append_printf(out, "vhost %s", parsed->vhost);
	transport_url_free(parsed);
	return g_string_free(out, FALSE);
}
