/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Parses transport_url as oslo_messaging.transport.TransportURL.parse does.
 */
#include "rpc/amqp/transport-url.h"

#include <string.h>

#include "rpc/rpc.h"

#define DEFAULT_PORT 5672

static void address_free(gpointer data)
{
	struct broker_address *address = data;

	g_free(address->host);
	g_free(address->user);
	g_free(address->password);
	g_free(address);
}

void transport_url_free(struct transport_url *url)
{
	if (!url)
		return;
	g_ptr_array_unref(url->brokers);
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
	if (!*address->host) {
		g_free(address->host);
		address->host = g_strdup("localhost");
	}
	if (port && !g_ascii_string_to_unsigned(port, 10, 1, 65535, &number, NULL))
		return url_error(error, "a port is not a number from 1 to 65535");
	address->port = (int)number;
	return 0;
}

static int parse_broker(struct transport_url *url, const char *text, GError **error)
{
	struct broker_address *address = g_new0(struct broker_address, 1);
	const char *at = strrchr(text, '@');

	g_ptr_array_add(url->brokers, address);
	if (at) {
		const char *colon = memchr(text, ':', (size_t)(at - text));
		const char *user_end = colon ? colon : at;

		address->user = unescape(text, (size_t)(user_end - text));
		address->password =
			colon ? unescape(colon + 1, (size_t)(at - colon - 1)) : g_strdup("");
		if (!address->user || !address->password)
			return url_error(error,
					 "a user or password is not percent-encoded correctly");
	} else {
		address->user = g_strdup("guest");
		address->password = g_strdup("guest");
	}
	return parse_host(address, at ? at + 1 : text, error);
}

static int parse_brokers(struct transport_url *url, const char *text, GError **error)
{
	g_auto(GStrv) list = g_strsplit(text, ",", -1);

	for (char **item = list; *item; item++) {
		if (*g_strstrip(*item) && parse_broker(url, *item, error) < 0) {
			if (g_strv_length(list) > 1)
				g_prefix_error(error, "server %u in the list: ", url->brokers->len);
			return -1;
		}
	}
	return url->brokers->len > 0 ? 0 : parse_broker(url, "", error);
}

struct transport_url *transport_url_parse(const char *text, GError **error)
{
	struct transport_url *url = g_new0(struct transport_url, 1);
	g_autofree char *brokers = NULL;
	g_autofree char *path = NULL;
	const char *rest, *end;

	url->brokers = g_ptr_array_new_with_free_func(address_free);
	rest = text ? strstr(text, "://") : NULL;
	if (!rest || (!g_str_has_prefix(text, "rabbit:") && !g_str_has_prefix(text, "amqp:") &&
		      !g_str_has_prefix(text, "kombu+"))) {
		(void)url_error(error, "it does not start with rabbit://");
		goto failed;
	}
	rest += strlen("://");
	end = rest + strcspn(rest, "/?#");
	brokers = g_strndup(rest, (gsize)(end - rest));
	if (parse_brokers(url, brokers, error) < 0)
		goto failed;

	/* Without a vhost oslo passes an empty one, for which kombu uses "/"; so does "//". */
	if (*end == '/')
		path = g_strndup(end + 1, strcspn(end + 1, "?#"));
	url->vhost = path ? g_uri_unescape_string(path, NULL) : g_strdup("");
	if (!url->vhost) {
		(void)url_error(error, "the vhost is not percent-encoded correctly");
		goto failed;
	}
	if (!*url->vhost) {
		g_free(url->vhost);
		url->vhost = g_strdup("/");
	} else if (path && path[0] == '/' && path[1]) {
		memmove(url->vhost, url->vhost + 1, strlen(url->vhost));
	}
	return url;

failed:
	transport_url_free(url);
	return NULL;
}
