/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See http.h. libmicrohttpd has no thread of its own here: its epoll descriptor is a source of the
 * main context.
 */
#include "agent/metrics/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glib-unix.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#define CONNECTIONS_MAX 8
/* Without any byte, and altogether. */
#define IDLE_S 5
#define CONNECTION_S 15
#define CONNECTION_MEMORY 8192
#define CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct metrics_http {
	const struct metrics_source *source;
	GMainContext *context;
	struct MHD_Daemon *daemon;
	GSource *readable;
	GSource *timer;
	/* When each connection came, monotonic us; 0: the place is free. */
	struct {
		int fd;
		gint64 since;
	} connections[CONNECTIONS_MAX];
};

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, char *text)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result rc;

	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, CONTENT_TYPE);
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		(void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	rc = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	g_free(text);
	return rc;
}

static enum MHD_Result handle_request(void *opaque, struct MHD_Connection *connection,
				      const char *url, const char *method, const char *version,
				      const char *body, size_t *body_size, void **state)
{
	const struct metrics_http *http = opaque;

	(void)version;
	(void)body;
	(void)body_size;
	(void)state;
	if (!g_str_equal(method, MHD_HTTP_METHOD_GET) && !g_str_equal(method, MHD_HTTP_METHOD_HEAD))
		return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED,
			      g_strdup("only GET is supported\n"));
	if (!g_str_equal(url, "/metrics"))
		return answer(connection, MHD_HTTP_NOT_FOUND,
			      g_strdup("the metrics are at /metrics\n"));
	return answer(connection, MHD_HTTP_OK, http->source->text(http->source->opaque));
}

static void note_connection(void *opaque, struct MHD_Connection *connection, void **state,
			    enum MHD_ConnectionNotificationCode code)
{
	struct metrics_http *http = opaque;
	int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	bool has_started = code == MHD_CONNECTION_NOTIFY_STARTED;

	(void)state;
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		if (has_started ? http->connections[i].since > 0
				: http->connections[i].since == 0 || http->connections[i].fd != fd)
			continue;
		http->connections[i].fd = fd;
		http->connections[i].since = has_started ? g_get_monotonic_time() : 0;
		return;
	}
}

static gboolean serve(gint fd, GIOCondition condition, gpointer opaque)
{
	struct metrics_http *http = opaque;

	(void)fd;
	(void)condition;
	(void)MHD_run(http->daemon);
	return G_SOURCE_CONTINUE;
}

/* libmicrohttpd's own limit counts only since the last byte. */
static gboolean check_limits(gpointer opaque)
{
	struct metrics_http *http = opaque;

	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		if (http->connections[i].since > 0 &&
		    g_get_monotonic_time() - http->connections[i].since >
			    CONNECTION_S * G_USEC_PER_SEC)
			(void)shutdown(http->connections[i].fd, SHUT_RDWR);
	}
	(void)MHD_run(http->daemon);
	return G_SOURCE_CONTINUE;
}

/* Splits "address:port". Returns false if it is not a loopback address with a port. */
static bool parse_address(const char *text, struct sockaddr_storage *ret_address)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret_address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret_address;
	const char *colon = strrchr(text, ':');
	g_autofree char *host = colon ? g_strndup(text, (gsize)(colon - text)) : NULL;
	guint64 port;

	memset(ret_address, 0, sizeof(*ret_address));
	if (!host || !g_ascii_string_to_unsigned(colon + 1, 10, 1, 65535, &port, NULL))
		return false;
	if (g_str_equal(host, "[::1]")) {
		v6->sin6_family = AF_INET6;
		v6->sin6_addr = in6addr_loopback;
		v6->sin6_port = htons((uint16_t)port);
		return true;
	}
	v4->sin_family = AF_INET;
	v4->sin_port = htons((uint16_t)port);
	return inet_pton(AF_INET, host, &v4->sin_addr) == 1 &&
	       ntohl(v4->sin_addr.s_addr) >> 24 == 127;
}

static void attach(struct metrics_http *http, GSource *source, GSourceFunc callback)
{
	g_source_set_callback(source, callback, http, NULL);
	(void)g_source_attach(source, http->context);
}

struct metrics_http *metrics_http_start(const char *address, const struct metrics_source *source,
					GMainContext *context, GError **error)
{
	struct metrics_http *http = g_new0(struct metrics_http, 1);
	struct sockaddr_storage listen;
	int fd;

	http->source = source;
	http->context = context;
	if (!parse_address(address, &listen)) {
		g_set_error(error, METRICS_ERROR, METRICS_ERROR_LISTEN,
			    "[novasnap]metrics_listen is \"%s\", must be an address of the "
			    "loopback and a port, such as 127.0.0.1:9178",
			    address);
		g_free(http);
		return NULL;
	}
	http->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | (listen.ss_family == AF_INET6 ? MHD_USE_IPv6 : 0), 0, NULL, NULL,
		handle_request, http, MHD_OPTION_SOCK_ADDR, &listen, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
		MHD_OPTION_NOTIFY_CONNECTION, note_connection, http, MHD_OPTION_END);
	if (!http->daemon) {
		g_set_error(error, METRICS_ERROR, METRICS_ERROR_LISTEN,
			    "cannot listen at [novasnap]metrics_listen %s: %s", address,
			    g_strerror(errno));
		g_free(http);
		return NULL;
	}
	fd = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	http->readable = g_unix_fd_source_new(fd, G_IO_IN);
	attach(http, http->readable, G_SOURCE_FUNC(serve));
	http->timer = g_timeout_source_new_seconds(1);
	attach(http, http->timer, check_limits);
	return http;
}

void metrics_http_stop(struct metrics_http *http)
{
	if (!http)
		return;
	g_source_destroy(http->readable);
	g_source_unref(http->readable);
	g_source_destroy(http->timer);
	g_source_unref(http->timer);
	MHD_stop_daemon(http->daemon);
	g_free(http);
}
