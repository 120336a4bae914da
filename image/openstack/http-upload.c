/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sends the body of an upload with libcurl, and notices when the server refuses it meanwhile.
 *
 * curl sends what its read callback returns before it looks for a reply. A server that refuses an
 * upload may have closed the connection by then: sending fails, and curl drops the refusal. So when
 * something has arrived while data was read from the source, the transfer is paused for one round,
 * in which curl receives it.
 */
#include "image/openstack/http-upload.h"

#include <curl/curl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "image/openstack/http-expect.h"

#define UPLOAD_BUFFER_SIZE (256L * 1024)
/* curl adds "Expect: 100-continue" to larger bodies. */
#define EXPECT_SIZE_MIN ((uint64_t)1024 * 1024)

struct http_sender {
	CURL *curl;
	const char *url;
	const struct http_upload *upload;
	enum http_expect expect;
	bool continued;	  /* the server has sent "100 Continue" */
	bool began;	  /* the body is being sent */
	bool refused;	  /* the server has answered with an error */
	bool paused;	  /* for one round, or for good if the upload is refused */
	GArray *sockets;  /* of struct pollfd: those that curl has opened and not closed */
	GByteArray *kept; /* was read from the source, but not passed to curl yet */
	GError *error;	  /* of the upload's `read`; NULL: none */
};

static bool sender_has_input(const struct http_sender *sender)
{
	return poll((struct pollfd *)sender->sockets->data, sender->sockets->len, 0) > 0;
}

static size_t sender_take_kept(struct http_sender *sender, char *buffer, size_t size)
{
	guint length = (guint)MIN(size, (size_t)sender->kept->len);

	memcpy(buffer, sender->kept->data, length);
	g_byte_array_remove_range(sender->kept, 0, length);
	return length;
}

static void sender_begin(struct http_sender *sender)
{
	sender->began = true;
	if (sender->expect == HTTP_EXPECT_WAIT && !sender->continued &&
	    sender->upload->size > EXPECT_SIZE_MIN)
		http_expect_set(sender->url, HTTP_EXPECT_NO_WAIT);
}

static size_t sender_read(char *buffer, size_t size, size_t count, void *opaque)
{
	struct http_sender *sender = opaque;
	const struct http_upload *upload = sender->upload;
	ssize_t got;

	if (!sender->began)
		sender_begin(sender);
	/* curl goes on sending if the refusal says that the connection will be closed. */
	if (sender->refused)
		return CURL_READFUNC_PAUSE;
	if (sender->kept->len > 0)
		return sender_take_kept(sender, buffer, size * count);
	got = upload->read(upload->opaque, buffer, size * count, &sender->error);
	if (got < 0)
		return CURL_READFUNC_ABORT;
	if (got == 0 || !sender_has_input(sender))
		return (size_t)got;
	g_byte_array_append(sender->kept, (const guint8 *)buffer, (guint)got);
	sender->paused = true;
	return CURL_READFUNC_PAUSE;
}

/* Returns how long to wait for "100 Continue", milliseconds. */
static long expect_timeout(enum http_expect expect, unsigned stall_timeout_s)
{
	return expect == HTTP_EXPECT_WAIT ? MIN(HTTP_EXPECT_TIMEOUT_MS, (long)stall_timeout_s * 500)
					  : 0;
}

struct http_sender *http_sender_new(void *curl, const char *url, const struct http_upload *upload,
				    unsigned stall_timeout_s)
{
	struct http_sender *sender = g_new0(struct http_sender, 1);

	sender->curl = curl;
	sender->url = url;
	sender->upload = upload;
	sender->expect = http_expect_get(url);
	sender->sockets = g_array_new(FALSE, FALSE, sizeof(struct pollfd));
	sender->kept = g_byte_array_new();
	curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(curl, CURLOPT_READFUNCTION, sender_read);
	curl_easy_setopt(curl, CURLOPT_READDATA, sender);
	curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)upload->size);
	curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BUFFER_SIZE);
	curl_easy_setopt(curl, CURLOPT_EXPECT_100_TIMEOUT_MS,
			 expect_timeout(sender->expect, stall_timeout_s));
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)stall_timeout_s);
	return sender;
}

void http_sender_free(struct http_sender *sender)
{
	if (!sender)
		return;
	g_array_free(sender->sockets, TRUE);
	g_byte_array_free(sender->kept, TRUE);
	g_clear_error(&sender->error);
	g_free(sender);
}

/* Without a value, the header is not sent. */
const char *http_sender_header(const struct http_sender *sender)
{
	return sender->expect == HTTP_EXPECT_OMIT ? "Expect:" : NULL;
}

void http_sender_add_socket(struct http_sender *sender, int fd)
{
	const struct pollfd entry = {.fd = fd, .events = POLLIN};

	g_array_append_val(sender->sockets, entry);
}

void http_sender_remove_socket(struct http_sender *sender, int fd)
{
	for (guint i = 0; i < sender->sockets->len; i++) {
		if (g_array_index(sender->sockets, struct pollfd, i).fd == fd) {
			g_array_remove_index_fast(sender->sockets, i);
			return;
		}
	}
}

/* Returns the status of a status line, or 0 if it is another line. */
static long line_status(const char *line, size_t length)
{
	g_autofree char *text = g_strndup(line, MIN(length, strlen("HTTP/1.1 100")));
	const char *space = strchr(text, ' ');

	return space && g_str_has_prefix(text, "HTTP/") ? strtol(space, NULL, 10) : 0;
}

void http_sender_receive_header(struct http_sender *sender, const char *line, size_t length)
{
	long status = line_status(line, length);
	bool repeated = false;

	if (status == 100 && sender->expect != HTTP_EXPECT_OMIT && !sender->continued) {
		sender->continued = true;
		http_expect_set(sender->url, HTTP_EXPECT_WAIT);
	}
	if (status == 417 && sender->expect != HTTP_EXPECT_OMIT) {
		sender->expect = HTTP_EXPECT_OMIT;
		http_expect_set(sender->url, HTTP_EXPECT_OMIT);
		/* Before the body, curl itself repeats the request without the header. */
		repeated = !sender->began;
	}
	if (status >= 200)
		sender->refused = status >= 300 && !repeated;
}

void http_sender_report(struct http_sender *sender, uint64_t sent)
{
	if (sender->upload->sent)
		sender->upload->sent(sender->upload->opaque, sent);
	if (sender->paused && !sender->refused) {
		sender->paused = false;
		(void)curl_easy_pause(sender->curl, CURLPAUSE_CONT);
	}
}

bool http_sender_has_ended(const struct http_sender *sender, uint64_t sent)
{
	return sender->refused || sent >= sender->upload->size;
}

bool http_sender_has_failed(struct http_sender *sender, GError **error)
{
	if (!sender->error)
		return false;
	g_propagate_error(error, g_steal_pointer(&sender->error));
	return true;
}
