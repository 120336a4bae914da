/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * HTTP servers whose reply is too large or never complete. A server is a thread that accepts one
 * connection.
 */
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "image/limits.h"
#include "image/openstack/http.h"

#define UPLOAD_SIZE ((uint64_t)100000)
#define LIMIT_S 1
/* More than the limits of a request together. */
#define MOST_US ((gint64)20 * G_USEC_PER_SEC)

struct server {
	int listener;
	const char *start;  /* of the reply */
	const char *repeat; /* sent after it until the client closes the connection */
	unsigned pause_us;  /* after each repetition; 0: the request has no upload */
	const char *secret; /* in the request; NULL: none */
};

/* Receives the head of a request, and then `body` bytes of an upload. */
static void receive_request(int fd, size_t body)
{
	static const char proceed[] = "HTTP/1.1 100 Continue\r\n\r\n";
	g_autoptr(GString) head = g_string_new(NULL);
	char buffer[4096];
	char byte;

	while (!g_str_has_suffix(head->str, "\r\n\r\n") && recv(fd, &byte, 1, 0) == 1)
		g_string_append_c(head, byte);
	if (body > 0)
		(void)send(fd, proceed, strlen(proceed), MSG_NOSIGNAL);
	while (body > 0) {
		ssize_t got = recv(fd, buffer, MIN(sizeof(buffer), body), 0);

		if (got <= 0)
			return;
		body -= (size_t)got;
	}
}

static void *server_main(void *opaque)
{
	const struct server *server = opaque;
	int fd = accept(server->listener, NULL, NULL);
	size_t length = strlen(server->repeat);

	receive_request(fd, server->pause_us > 0 ? UPLOAD_SIZE : 0);
	(void)send(fd, server->start, strlen(server->start), MSG_NOSIGNAL);
	while (length > 0 && send(fd, server->repeat, length, MSG_NOSIGNAL) == (ssize_t)length) {
		if (server->pause_us > 0)
			g_usleep(server->pause_us);
	}
	(void)close(fd);
	return NULL;
}

/* Starts listening. Returns the URL, which the caller frees. */
static char *server_listen(struct server *server)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof(address);
	int rc;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	rc = bind(server->listener, (struct sockaddr *)&address, sizeof(address));
	g_assert_cmpint(rc, ==, 0);
	rc = listen(server->listener, 1);
	g_assert_cmpint(rc, ==, 0);
	rc = getsockname(server->listener, (struct sockaddr *)&address, &length);
	g_assert_cmpint(rc, ==, 0);
	return g_strdup_printf("http://127.0.0.1:%d/", ntohs(address.sin_port));
}

/* Produces `*opaque` bytes. */
static ssize_t read_zeros(void *opaque, void *buffer, size_t size, GError **error)
{
	uint64_t *left = opaque;
	size_t length = (size_t)MIN(*left, (uint64_t)size);

	(void)error;
	memset(buffer, 0, length);
	*left -= length;
	return (ssize_t)length;
}

static int send_request(struct server *server, struct http_reply *reply, GError **error)
{
	static const struct http_config config = {.connect_timeout_s = LIMIT_S,
						  .request_timeout_s = LIMIT_S,
						  .stall_timeout_s = LIMIT_S};
	uint64_t left = UPLOAD_SIZE;
	const struct http_upload upload = {
		.read = read_zeros, .opaque = &left, .size = UPLOAD_SIZE};
	g_autofree char *url = server_listen(server);
	struct http_request request = {.method = "PUT",
				       .url = url,
				       .upload = server->pause_us > 0 ? &upload : NULL,
				       .secret = server->secret};
	pthread_t thread;
	int rc;

	rc = pthread_create(&thread, NULL, server_main, server);
	g_assert_cmpint(rc, ==, 0);
	rc = http_request_send(&config, &request, reply, error);
	(void)pthread_join(thread, NULL);
	(void)close(server->listener);
	return rc;
}

static void test_complete(void)
{
	struct server server = {.start = "HTTP/1.1 201 Created\r\nX-Subject-Token:  t \r\n"
					 "Content-Length: 2\r\n\r\n{}",
				.repeat = ""};
	struct http_reply reply = {0};

	g_assert_cmpint(send_request(&server, &reply, NULL), ==, 0);
	g_assert_cmpint(reply.status, ==, 201);
	g_assert_cmpstr(reply.subject_token, ==, "t");
	g_assert_cmpstr(reply.body->str, ==, "{}");
	http_reply_clear(&reply);
}

static void test_endless(void)
{
	g_autofree char *text = g_strnfill(10000, 'x');
	g_autofree char *header = g_strdup_printf("X-%s: x\r\n", text);
	struct server servers[] = {
		/* As fast as possible: a body, header lines, statuses, and no HTTP at all. */
		{.start = "HTTP/1.1 200 OK\r\n\r\n", .repeat = text},
		{.start = "HTTP/1.1 200 OK\r\n", .repeat = text},
		{.start = "HTTP/1.1 200 OK\r\n", .repeat = header},
		{.start = "HTTP/1.1 100 Continue\r\n\r\n",
		 .repeat = "HTTP/1.1 100 Continue\r\n\r\n"},
		{.start = "", .repeat = text},
		/* Slowly, after an upload. */
		{.start = "HTTP/1.1 200 OK\r\n\r\n", .repeat = "xxxx", .pause_us = 200000},
		{.start = "HTTP/1.1 200 OK\r\nX: ", .repeat = "xxxx", .pause_us = 200000},
		{.start = "", .repeat = "HTTP/1.1 100 Continue\r\n\r\n", .pause_us = 200000},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(servers); i++) {
		struct http_reply reply = {0};
		gint64 start_us = g_get_monotonic_time();
		g_autoptr(GError) error = NULL;

		g_assert_cmpint(send_request(&servers[i], &reply, &error), ==, -1);
		g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE);
		g_assert_cmpint(g_get_monotonic_time() - start_us, <, MOST_US);
		g_assert_cmpuint(reply.body->len, <=, HTTP_REPLY_SIZE_MAX);
		g_test_message("%zu: %s", i, error->message);
		http_reply_clear(&reply);
	}
}

/* A refusal quotes the request's password: as it is, and as JSON. */
static void test_quoted_secret(void)
{
	struct server server = {.start = "HTTP/1.1 400 Bad Request\r\n\r\n"
					 "not pa\"ss\\word: {\"password\":\"pa\\\"ss\\\\word\"}",
				.repeat = "",
				.secret = "pa\"ss\\word"};
	struct http_reply reply = {0};

	g_assert_cmpint(send_request(&server, &reply, NULL), ==, 0);
	g_assert_cmpint(reply.status, ==, 400);
	g_assert_cmpstr(reply.body->str, ==, "not ***: {\"password\":\"***\"}");
	http_reply_clear(&reply);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/http/complete", test_complete);
	g_test_add_func("/http/endless", test_endless);
	g_test_add_func("/http/quoted-secret", test_quoted_secret);
	return g_test_run();
}
