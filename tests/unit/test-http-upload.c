/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Uploads to servers that do not answer "Expect: 100-continue", or refuse the upload before or
 * within its body. The server is a stand-in: a thread that serves one connection after another.
 */
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "image/openstack/http-expect.h"
#include "image/openstack/http.h"

#define MIB ((uint64_t)1024 * 1024)
#define SIZE (4 * MIB)
#define LIMIT_S 2
/* An upload takes less than this without a wait, and more with one. */
#define WAIT_US ((gint64)900 * 1000)
/* The wait is shorter. */
#define LONG_WAIT_US ((gint64)4 * G_USEC_PER_SEC)
/* An upload without progress ends before, as curl averages its speed over 5 s. */
#define END_US ((gint64)20 * G_USEC_PER_SEC)

#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"
#define STORED "HTTP/1.1 204 No Content\r\n\r\n"
#define TEXT "disk_format does not match"
#define REFUSED "HTTP/1.1 415 Unsupported Media Type\r\n"
#define REFUSED_WITH_LENGTH REFUSED "Content-Length: 26\r\n\r\n" TEXT
#define REFUSED_TO_ITS_END REFUSED "Connection: close\r\n\r\n" TEXT

struct stand_in {
	/* Serves a connection whose first request has the header "Expect" or not. */
	void (*serve)(struct stand_in *stand_in, int fd, bool expects);
	const char *answer; /* a refusal */

	int listener;
	char *url;
	pthread_t thread;
	atomic_bool stopping;
	/* Changed by the thread. */
	atomic_uint connections;
	atomic_uint_fast64_t received; /* bytes of the last body */
};

static void say(int fd, const char *text)
{
	(void)send(fd, text, strlen(text), MSG_NOSIGNAL);
}

/* Receives up to `size` bytes of a body. Returns whether all have come. */
static bool receive(struct stand_in *stand_in, int fd, uint64_t size)
{
	char buffer[65536];

	while (size > 0) {
		ssize_t got = recv(fd, buffer, MIN(size, sizeof(buffer)), 0);

		if (got <= 0)
			return false;
		stand_in->received += (uint64_t)got;
		size -= (uint64_t)got;
	}
	return true;
}

/* Returns whether the head of the request has the header "Expect". */
static bool receive_head(int fd)
{
	g_autoptr(GString) head = g_string_new(NULL);
	char byte;

	while (!g_str_has_suffix(head->str, "\r\n\r\n") && recv(fd, &byte, 1, 0) == 1)
		g_string_append_c(head, byte);
	return strstr(head->str, "\r\nExpect: 100-continue\r\n") != NULL;
}

static void store(struct stand_in *stand_in, int fd)
{
	if (receive(stand_in, fd, SIZE - stand_in->received))
		say(fd, STORED);
}

static void serve_at_once(struct stand_in *stand_in, int fd, bool expects)
{
	if (expects)
		say(fd, CONTINUE);
	store(stand_in, fd);
}

static void serve_silently(struct stand_in *stand_in, int fd, bool expects)
{
	(void)expects;
	store(stand_in, fd);
}

/* Returns whether more of the body arrives soon. */
static bool has_arrived(int fd)
{
	struct pollfd entry = {.fd = fd, .events = POLLIN};

	return poll(&entry, 1, (int)(LONG_WAIT_US / 1000)) == 1;
}

/* As uwsgi's http-socket, which gives up the body after 4 s. */
static void serve_impatiently(struct stand_in *stand_in, int fd, bool expects)
{
	(void)expects;
	if (has_arrived(fd))
		store(stand_in, fd);
	else
		say(fd, "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
}

/* Sends "100 Continue" only within the body, and again and again. */
static void serve_late(struct stand_in *stand_in, int fd, bool expects)
{
	(void)expects;
	while (stand_in->received < SIZE / 2 && receive(stand_in, fd, SIZE / 16))
		say(fd, CONTINUE);
	store(stand_in, fd);
}

static void refuse_before_body(struct stand_in *stand_in, int fd, bool expects)
{
	(void)expects;
	say(fd, stand_in->answer);
}

/* Closes the connection, and leaves data that has arrived: so the connection is reset. */
static void refuse_within_body(struct stand_in *stand_in, int fd, bool expects)
{
	(void)expects;
	say(fd, CONTINUE);
	if (receive(stand_in, fd, MIB) && has_arrived(fd))
		say(fd, stand_in->answer);
}

/* Goes on receiving. */
static void refuse_and_receive(struct stand_in *stand_in, int fd, bool expects)
{
	refuse_within_body(stand_in, fd, expects);
	(void)receive(stand_in, fd, SIZE - stand_in->received);
	g_usleep(G_USEC_PER_SEC / 10);
}

static void refuse_expectation(struct stand_in *stand_in, int fd, bool expects)
{
	if (expects) {
		say(fd, stand_in->answer);
		if (strstr(stand_in->answer, "close"))
			return;
		expects = receive_head(fd);
	}
	if (!expects)
		store(stand_in, fd);
}

static void be_silent(struct stand_in *stand_in, int fd, bool expects)
{
	(void)fd;
	(void)expects;
	while (!atomic_load(&stand_in->stopping))
		g_usleep(G_USEC_PER_SEC / 100);
}

static void *stand_in_main(void *opaque)
{
	struct stand_in *stand_in = opaque;
	int fd;

	while ((fd = accept(stand_in->listener, NULL, NULL)) >= 0) {
		stand_in->connections++;
		stand_in->received = 0;
		stand_in->serve(stand_in, fd, receive_head(fd));
		(void)close(fd);
	}
	return NULL;
}

static void stand_in_start(struct stand_in *stand_in)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof(address);
	int rc;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	stand_in->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	rc = bind(stand_in->listener, (struct sockaddr *)&address, sizeof(address));
	g_assert_cmpint(rc, ==, 0);
	rc = listen(stand_in->listener, 8);
	g_assert_cmpint(rc, ==, 0);
	rc = getsockname(stand_in->listener, (struct sockaddr *)&address, &length);
	g_assert_cmpint(rc, ==, 0);
	stand_in->url =
		g_strdup_printf("http://127.0.0.1:%d/v2/images/x/file", ntohs(address.sin_port));
	rc = pthread_create(&stand_in->thread, NULL, stand_in_main, stand_in);
	g_assert_cmpint(rc, ==, 0);
}

static void stand_in_stop(struct stand_in *stand_in)
{
	atomic_store(&stand_in->stopping, true);
	(void)shutdown(stand_in->listener, SHUT_RDWR);
	(void)pthread_join(stand_in->thread, NULL);
	(void)close(stand_in->listener);
	/* The port may be another stand-in's next. */
	http_expect_set(stand_in->url, HTTP_EXPECT_WAIT);
	g_free(stand_in->url);
}

/* A source, and what came of its upload. */
struct upload {
	unsigned pause_ms;  /* that each read of the source takes */
	unsigned stall_s;   /* the limit of a stall; 0: LIMIT_S */
	atomic_int *cancel; /* may be NULL */

	uint64_t left; /* of the source */
	int rc;
	struct http_reply reply;
	GError *error;
	gint64 took_us;
};

static ssize_t read_zeros(void *opaque, void *buffer, size_t size, GError **error)
{
	struct upload *upload = opaque;
	size_t length = (size_t)MIN(upload->left, (uint64_t)size);

	(void)error;
	g_usleep((gulong)upload->pause_ms * 1000);
	memset(buffer, 0, length);
	upload->left -= length;
	return (ssize_t)length;
}

static void upload_send(struct upload *upload, const struct stand_in *stand_in)
{
	const struct http_config config = {.connect_timeout_s = LIMIT_S,
					   .request_timeout_s = LIMIT_S,
					   .stall_timeout_s =
						   upload->stall_s ? upload->stall_s : LIMIT_S};
	const struct http_upload body = {.read = read_zeros, .opaque = upload, .size = SIZE};
	const struct http_request request = {
		.method = "PUT", .url = stand_in->url, .upload = &body, .cancel = upload->cancel};
	gint64 start_us = g_get_monotonic_time();

	upload->left = SIZE;
	g_clear_error(&upload->error);
	upload->rc = http_request_send(&config, &request, &upload->reply, &upload->error);
	upload->took_us = g_get_monotonic_time() - start_us;
	g_test_message("%ld after %" G_GINT64_FORMAT " us, %" G_GUINT64_FORMAT " bytes: %s",
		       upload->reply.status, upload->took_us, SIZE - upload->left,
		       upload->error ? upload->error->message : upload->reply.body->str);
}

static void upload_clear(struct upload *upload)
{
	http_reply_clear(&upload->reply);
	g_clear_error(&upload->error);
}

static void check_stored(const struct upload *upload, const struct stand_in *stand_in)
{
	g_assert_no_error(upload->error);
	g_assert_cmpint(upload->reply.status, ==, 204);
	g_assert_cmpuint(stand_in->received, ==, SIZE);
}

static void check_refused(const struct upload *upload)
{
	g_assert_no_error(upload->error);
	g_assert_cmpint(upload->reply.status, ==, 415);
	g_assert_cmpstr(upload->reply.body->str, ==, TEXT);
}

/* Uploads do not wait. On a busy machine they may be slow, but not all of them. */
static void check_no_wait(struct upload *upload, const struct stand_in *stand_in)
{
	unsigned tries = 0;

	do {
		upload_send(upload, stand_in);
		check_stored(upload, stand_in);
	} while (upload->took_us >= WAIT_US && ++tries < 5);
	g_assert_cmpint(upload->took_us, <, WAIT_US);
}

static void test_answered(void)
{
	struct stand_in stand_in = {.serve = serve_at_once};
	struct upload upload = {0};

	stand_in_start(&stand_in);
	check_no_wait(&upload, &stand_in);
	g_assert_cmpint(http_expect_get(stand_in.url), ==, HTTP_EXPECT_WAIT);
	stand_in_stop(&stand_in);
	upload_clear(&upload);
}

/* Only the first upload waits. */
static void test_never_answered(void)
{
	struct stand_in stand_in = {.serve = serve_silently};
	struct stand_in other = {.serve = serve_at_once};
	struct upload upload = {0};

	stand_in_start(&stand_in);
	stand_in_start(&other);
	upload_send(&upload, &stand_in);
	check_stored(&upload, &stand_in);
	g_assert_cmpint(upload.took_us, >, WAIT_US);
	g_assert_cmpint(upload.took_us, <, LONG_WAIT_US);
	check_no_wait(&upload, &stand_in);
	g_assert_cmpint(http_expect_get(other.url), ==, HTTP_EXPECT_WAIT);
	stand_in_stop(&stand_in);
	stand_in_stop(&other);
	upload_clear(&upload);
}

/* The wait is not a stall. */
static void test_never_answered_short_limit(void)
{
	struct stand_in stand_in = {.serve = serve_silently};
	struct upload upload = {.stall_s = 1};

	stand_in_start(&stand_in);
	upload_send(&upload, &stand_in);
	check_stored(&upload, &stand_in);
	stand_in_stop(&stand_in);
	upload_clear(&upload);
}

static void test_impatient(void)
{
	struct stand_in stand_in = {.serve = serve_impatiently};
	struct upload upload = {0};

	stand_in_start(&stand_in);
	upload_send(&upload, &stand_in);
	check_stored(&upload, &stand_in);
	stand_in_stop(&stand_in);
	upload_clear(&upload);
}

/* A server that was busy is waited for again. What it sends within the body does not stop it. */
static void test_answered_late(void)
{
	struct stand_in stand_in = {.serve = serve_late};
	struct upload upload = {.pause_ms = 1};

	stand_in_start(&stand_in);
	upload_send(&upload, &stand_in);
	check_stored(&upload, &stand_in);
	g_assert_cmpint(upload.took_us, <, LONG_WAIT_US);
	g_assert_cmpint(http_expect_get(stand_in.url), ==, HTTP_EXPECT_WAIT);
	stand_in_stop(&stand_in);
	upload_clear(&upload);
}

static const char *const refusals[] = {REFUSED_WITH_LENGTH, REFUSED_TO_ITS_END};

/* Nothing is sent. */
static void test_refused_before_body(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(refusals); i++) {
		struct stand_in stand_in = {.serve = refuse_before_body, .answer = refusals[i]};
		struct upload upload = {0};

		stand_in_start(&stand_in);
		upload_send(&upload, &stand_in);
		check_refused(&upload);
		g_assert_cmpuint(upload.left, ==, SIZE);
		stand_in_stop(&stand_in);
		upload_clear(&upload);
	}
}

/* The refusal comes while the source is read, and the server has closed the connection before that
 * returns. This is also so where the server is known not to answer the header. */
static void test_refused_within_body(void)
{
	static void (*const serve[])(struct stand_in *, int, bool) = {refuse_within_body,
								      refuse_before_body};

	for (size_t i = 0; i < 2 * G_N_ELEMENTS(refusals); i++) {
		struct stand_in stand_in = {.serve = serve[i / 2], .answer = refusals[i % 2]};
		struct upload upload = {.pause_ms = 50};

		stand_in_start(&stand_in);
		http_expect_set(stand_in.url, HTTP_EXPECT_NO_WAIT);
		upload_send(&upload, &stand_in);
		check_refused(&upload);
		g_assert_cmpuint(upload.left, >, SIZE / 8);
		stand_in_stop(&stand_in);
		upload_clear(&upload);
	}
}

/* The body ends, whether or not the server receives the rest of it. */
static void test_refused_and_received(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(refusals); i++) {
		struct stand_in stand_in = {.serve = refuse_and_receive, .answer = refusals[i]};
		struct upload upload = {.pause_ms = 10};

		stand_in_start(&stand_in);
		upload_send(&upload, &stand_in);
		check_refused(&upload);
		g_assert_cmpuint(upload.left, >, SIZE / 8);
		g_assert_cmpint(upload.took_us, <, END_US);
		stand_in_stop(&stand_in);
		upload_clear(&upload);
	}
}

/* A refusal whose text never ends is one, too. */
static void test_refusal_incomplete(void)
{
	struct stand_in stand_in = {.serve = refuse_and_receive,
				    .answer = REFUSED "Content-Length: 1000\r\n\r\n" TEXT};
	struct upload upload = {.pause_ms = 10};

	stand_in_start(&stand_in);
	upload_send(&upload, &stand_in);
	check_refused(&upload);
	g_assert_cmpint(upload.took_us, <, END_US);
	stand_in_stop(&stand_in);
	upload_clear(&upload);
}

/* A server that refuses the header gets uploads without it. */
static void test_expectation_refused(void)
{
	struct stand_in stand_in = {
		.serve = refuse_expectation,
		.answer = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"};
	struct upload upload = {0};

	stand_in_start(&stand_in);
	for (unsigned i = 1; i <= 2; i++) {
		upload_send(&upload, &stand_in);
		check_stored(&upload, &stand_in);
		g_assert_cmpuint(stand_in.connections, ==, i);
	}
	g_assert_cmpint(http_expect_get(stand_in.url), ==, HTTP_EXPECT_OMIT);
	stand_in_stop(&stand_in);
	upload_clear(&upload);
}

/* The upload is not repeated here, but the next one has no such header. */
static void test_expectation_refused_and_closed(void)
{
	struct stand_in stand_in = {
		.serve = refuse_expectation,
		.answer = "HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\n\r\n"};
	struct upload upload = {0};

	stand_in_start(&stand_in);
	upload_send(&upload, &stand_in);
	if (upload.reply.status == 417)
		upload_send(&upload, &stand_in);
	check_stored(&upload, &stand_in);
	g_assert_cmpuint(stand_in.connections, ==, 2);
	stand_in_stop(&stand_in);
	upload_clear(&upload);
}

/* Without any answer the upload ends, and so it does when it is cancelled. */
static void test_silent(void)
{
	struct stand_in stand_in = {.serve = be_silent};
	atomic_int cancel = 0;
	struct upload upload = {.cancel = &cancel};

	stand_in_start(&stand_in);
	upload_send(&upload, &stand_in);
	g_assert_error(upload.error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE);
	g_assert_cmpint(upload.took_us, <, END_US);
	http_expect_set(stand_in.url, HTTP_EXPECT_WAIT);
	atomic_store(&cancel, 1);
	upload_send(&upload, &stand_in);
	g_assert_error(upload.error, IMAGE_ERROR, IMAGE_ERROR_CANCELLED);
	g_assert_cmpint(upload.took_us, <, LONG_WAIT_US);
	stand_in_stop(&stand_in);
	upload_clear(&upload);
}

/* What is remembered is of a scheme, host and port. */
static void test_servers(void)
{
	http_expect_set("http://a:1/v2/images/x/file", HTTP_EXPECT_NO_WAIT);
	g_assert_cmpint(http_expect_get("http://a:1/v2/images/y/file"), ==, HTTP_EXPECT_NO_WAIT);
	g_assert_cmpint(http_expect_get("http://a:1"), ==, HTTP_EXPECT_NO_WAIT);
	g_assert_cmpint(http_expect_get("http://a:12/"), ==, HTTP_EXPECT_WAIT);
	g_assert_cmpint(http_expect_get("http://a/"), ==, HTTP_EXPECT_WAIT);
	g_assert_cmpint(http_expect_get("https://a:1/"), ==, HTTP_EXPECT_WAIT);
	for (unsigned i = 0; i < 1000; i++) {
		g_autofree char *url = g_strdup_printf("http://b%u/", i);

		http_expect_set(url, HTTP_EXPECT_OMIT);
		g_assert_cmpint(http_expect_get(url), ==, HTTP_EXPECT_OMIT);
		http_expect_set(url, HTTP_EXPECT_NO_WAIT);
		g_assert_cmpint(http_expect_get(url), ==, HTTP_EXPECT_NO_WAIT);
	}
	http_expect_set("http://b999/", HTTP_EXPECT_WAIT);
	g_assert_cmpint(http_expect_get("http://b999/"), ==, HTTP_EXPECT_WAIT);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/http-upload/answered", test_answered);
	g_test_add_func("/http-upload/never-answered", test_never_answered);
	g_test_add_func("/http-upload/never-answered-short-limit", test_never_answered_short_limit);
	g_test_add_func("/http-upload/impatient", test_impatient);
	g_test_add_func("/http-upload/answered-late", test_answered_late);
	g_test_add_func("/http-upload/refused-before-body", test_refused_before_body);
	g_test_add_func("/http-upload/refused-within-body", test_refused_within_body);
	g_test_add_func("/http-upload/refused-and-received", test_refused_and_received);
	g_test_add_func("/http-upload/refusal-incomplete", test_refusal_incomplete);
	g_test_add_func("/http-upload/expectation-refused", test_expectation_refused);
	g_test_add_func("/http-upload/expectation-refused-and-closed",
			test_expectation_refused_and_closed);
	g_test_add_func("/http-upload/silent", test_silent);
	g_test_add_func("/http-upload/servers", test_servers);
	return g_test_run();
}
