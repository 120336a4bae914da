/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * transport_url, as oslo_messaging.transport.TransportURL.parse reads it.
 */
#include <string.h>

#include "rpc/internal.h"

#define DEFAULT_PORT 5672

static void address_free(gpointer data)
{
	struct rpc_server_address *address = data;

	g_free(address->host);
	g_free(address->user);
	g_free(address->password);
	g_free(address);
}

void rpc_url_free(struct rpc_url *url)
{
	if (!url)
		return;
	g_ptr_array_unref(url->servers);
	g_free(url->vhost);
	g_free(url);
}

static int bad(GError **error, const char *what)
{
	g_set_error(error, RPC_ERROR, RPC_ERROR_CONFIG,
		    "transport_url: %s; it must look like "
		    "rabbit://user:password@host:5672/vhost",
		    what);
	return -1;
}

static char *unescape(const char *start, size_t length)
{
	return g_uri_unescape_segment(start, start + length, NULL);
}

static int parse_host(struct rpc_server_address *address, const char *text, GError **error)
{
	const char *port = NULL;
	guint64 number = DEFAULT_PORT;

	if (*text == '[') {
		const char *end = strchr(text, ']');

		if (!end || (end[1] && end[1] != ':'))
			return bad(error, "an IPv6 address without its closing bracket");
		address->host = g_strndup(text + 1, (gsize)(end - text - 1));
		port = end[1] ? end + 2 : NULL;
	} else {
		const char *colon = strchr(text, ':');

		address->host = unescape(text, colon ? (size_t)(colon - text) : strlen(text));
		port = colon ? colon + 1 : NULL;
	}
	if (!address->host)
		return bad(error, "a host that is not well percent-encoded");
	if (!*address->host) {
		g_free(address->host);
		address->host = g_strdup("localhost");
	}
	if (port && !g_ascii_string_to_unsigned(port, 10, 1, 65535, &number, NULL))
		return bad(error, "a port that is no number from 1 to 65535");
	address->port = (int)number;
	return 0;
}

static int parse_server(struct rpc_url *url, const char *text, GError **error)
{
	struct rpc_server_address *address = g_new0(struct rpc_server_address, 1);
	const char *at = strrchr(text, '@');

	g_ptr_array_add(url->servers, address);
	if (at) {
		const char *colon = memchr(text, ':', (size_t)(at - text));
		const char *user_end = colon ? colon : at;

		address->user = unescape(text, (size_t)(user_end - text));
		address->password =
			colon ? unescape(colon + 1, (size_t)(at - colon - 1)) : g_strdup("");
		if (!address->user || !address->password)
			return bad(error, "a user or password that is not well percent-encoded");
	} else {
		address->user = g_strdup("guest");
		address->password = g_strdup("guest");
	}
	return parse_host(address, at ? at + 1 : text, error);
}

static int parse_servers(struct rpc_url *url, const char *text, GError **error)
{
	g_auto(GStrv) list = g_strsplit(text, ",", -1);

	for (char **server = list; *server; server++) {
		if (*g_strstrip(*server) && parse_server(url, *server, error) < 0) {
			if (g_strv_length(list) > 1)
				g_prefix_error(error, "of the servers the %u. is wrong: ",
					       url->servers->len);
			return -1;
		}
	}
	return url->servers->len > 0 ? 0 : parse_server(url, "", error);
}

struct rpc_url *rpc_url_parse(const char *text, GError **error)
{
	struct rpc_url *url = g_new0(struct rpc_url, 1);
	g_autofree char *servers = NULL;
	g_autofree char *path = NULL;
	const char *rest, *end;

	url->servers = g_ptr_array_new_with_free_func(address_free);
	rest = text ? strstr(text, "://") : NULL;
	if (!rest || (!g_str_has_prefix(text, "rabbit:") && !g_str_has_prefix(text, "amqp:") &&
		      !g_str_has_prefix(text, "kombu+"))) {
		(void)bad(error, "it does not begin with rabbit://");
		goto failed;
	}
	rest += strlen("://");
	end = rest + strcspn(rest, "/?#");
	servers = g_strndup(rest, (gsize)(end - rest));
	if (parse_servers(url, servers, error) < 0)
		goto failed;

	/* Without a vhost oslo hands an empty one on, which kombu takes for "/"; so is "//". */
	if (*end == '/')
		path = g_strndup(end + 1, strcspn(end + 1, "?#"));
	url->vhost = path ? g_uri_unescape_string(path, NULL) : g_strdup("");
	if (!url->vhost) {
		(void)bad(error, "a vhost that is not well percent-encoded");
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
	rpc_url_free(url);
	return NULL;
}
