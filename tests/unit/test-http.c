/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * HTTP servers that answer too much, or never to the end: a thread that takes one connection.
 */
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "image/limits.h"
#include "image/openstack/http.h"
#include "image/store/pipeline.h"

#define SENT ((uint64_t)100000)
#define LIMIT_S 1
/* Of what has a limit of some seconds. */
#define SOON_US ((gint64)20 * G_USEC_PER_SEC)

struct server {
	int listener;
	const char *begin; /* of the answer */
	const char *again; /* what follows, again and again */
	unsigned pause_us; /* before each */
};

static void take_request(int fd, size_t body)
{
	static const char more[] = "HTTP/1.1 100 Continue\r\n\r\n";
	g_autoptr(GString) head = g_string_new(NULL);
	char buffer[4096];
	char byte;

	while (!g_str_has_suffix(head->str, "\r\n\r\n") && recv(fd, &byte, 1, 0) == 1)
		g_string_append_c(head, byte);
	if (body > 0)
		(void)send(fd, more, strlen(more), MSG_NOSIGNAL);
	while (body > 0) {
		ssize_t got = recv(fd, buffer, MIN(sizeof(buffer), body), 0);

		if (got <= 0)
			return;
		body -= (size_t)got;
	}
}

static void *serve(void *opaque)
{
	const struct server *server = opaque;
	int fd = accept(server->listener, NULL, NULL);
	size_t length = strlen(server->again);

	take_request(fd, server->pause_us > 0 ? SENT : 0);
	(void)send(fd, server->begin, strlen(server->begin), MSG_NOSIGNAL);
	while (length > 0 && send(fd, server->again, length, MSG_NOSIGNAL) == (ssize_t)length) {
		if (server->pause_us > 0)
			g_usleep(server->pause_us);
	}
	(void)close(fd);
	return NULL;
}

static int read_zeros(struct image_source *source, uint64_t offset, void *buf, size_t len,
		      GError **error)
{
	(void)source;
	(void)offset;
	(void)error;
	memset(buf, 0, len);
	return 0;
}

static ssize_t read_body(void *opaque, void *buffer, size_t size, GError **error)
{
	return pipeline_read(opaque, buffer, size, error);
}

/* An upload where the server has a pause. */
static int ask(struct server *server, struct http_reply *reply, GError **error)
{
	static const struct image_source_ops ops = {.read = read_zeros};
	static const struct http_config config = {.connect_timeout_s = LIMIT_S,
						  .request_timeout_s = LIMIT_S,
						  .stall_timeout_s = LIMIT_S};
	struct image_source source = {&ops, SENT};
	struct image_upload upload = {.source = &source};
	struct pipeline *pipeline = server->pause_us > 0 ? pipeline_start(&upload, NULL) : NULL;
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof(address);
	g_autofree char *url = NULL;
	const struct http_upload body = {.read = read_body, .opaque = pipeline, .size = SENT};
	struct http_request request = {.method = "PUT", .upload = pipeline ? &body : NULL};
	pthread_t thread;
	int rc;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	rc = bind(server->listener, (struct sockaddr *)&address, sizeof(address));
	g_assert_cmpint(rc, ==, 0);
	rc = listen(server->listener, 1);
	g_assert_cmpint(rc, ==, 0);
	rc = getsockname(server->listener, (struct sockaddr *)&address, &length);
	g_assert_cmpint(rc, ==, 0);
	url = g_strdup_printf("http://127.0.0.1:%d/", ntohs(address.sin_port));
	request.url = url;
	rc = pthread_create(&thread, NULL, serve, server);
	g_assert_cmpint(rc, ==, 0);
	rc = http_request_send(&config, &request, reply, error);
	(void)pthread_join(thread, NULL);
	(void)close(server->listener);
	if (pipeline)
		pipeline_free(pipeline);
	return rc;
}

static void test_good(void)
{
	struct server server = {.begin = "HTTP/1.1 201 Created\r\nX-Subject-Token:  t \r\n"
					 "Content-Length: 2\r\n\r\n{}",
				.again = ""};
	struct http_reply reply = {0};

	g_assert_cmpint(ask(&server, &reply, NULL), ==, 0);
	g_assert_cmpint(reply.status, ==, 201);
	g_assert_cmpstr(reply.subject_token, ==, "t");
	g_assert_cmpstr(reply.body->str, ==, "{}");
	http_reply_clear(&reply);
}

static void test_no_end(void)
{
	g_autofree char *much = g_strnfill(10000, 'x');
	g_autofree char *header = g_strdup_printf("X-%s: x\r\n", much);
	struct server servers[] = {
		/* All at once. */
		{.begin = "HTTP/1.1 200 OK\r\n\r\n", .again = much},
		{.begin = "HTTP/1.1 200 OK\r\n", .again = much},
		{.begin = "HTTP/1.1 200 OK\r\n", .again = header},
		{.begin = "HTTP/1.1 100 Continue\r\n\r\n",
		 .again = "HTTP/1.1 100 Continue\r\n\r\n"},
		{.begin = "", .again = much},
		/* After an upload, byte by byte. */
		{.begin = "HTTP/1.1 200 OK\r\n\r\n", .again = "xxxx", .pause_us = 200000},
		{.begin = "HTTP/1.1 200 OK\r\nX: ", .again = "xxxx", .pause_us = 200000},
		{.begin = "", .again = "HTTP/1.1 100 Continue\r\n\r\n", .pause_us = 200000},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(servers); i++) {
		struct http_reply reply = {0};
		gint64 began = g_get_monotonic_time();
		g_autoptr(GError) error = NULL;

		g_assert_cmpint(ask(&servers[i], &reply, &error), ==, -1);
		g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE);
		g_assert_cmpint(g_get_monotonic_time() - began, <, SOON_US);
		g_assert_cmpuint(reply.body->len, <=, HTTP_REPLY_SIZE_MAX);
		g_test_message("%zu: %s", i, error->message);
		http_reply_clear(&reply);
	}
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/http/good", test_good);
	g_test_add_func("/http/no-end", test_no_end);
	return g_test_run();
}
