/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the servers of this process do with the header "Expect: 100-continue" of an upload. Several
 * threads may use these functions.
 */
#ifndef NOVASNAP_IMAGE_HTTP_EXPECT_H
#define NOVASNAP_IMAGE_HTTP_EXPECT_H

/* How long an upload waits for "100 Continue" before it sends its body, milliseconds. Short: uwsgi
 * never sends it, and gives up a request whose body does not come within 4 s (socket-timeout). */
#define HTTP_EXPECT_TIMEOUT_MS 1000L

enum http_expect {
	HTTP_EXPECT_WAIT,    /* send the header, and wait: the server is unknown, or answers */
	HTTP_EXPECT_NO_WAIT, /* send the header, but do not wait: the server has not answered it */
	HTTP_EXPECT_OMIT,    /* do not send the header: the server refuses it (417) */
};

/* Returns what to do in an upload to `url`: what was last remembered for its scheme, host and port,
 * or HTTP_EXPECT_WAIT. */
enum http_expect http_expect_get(const char *url);

/* Remembers what to do in later uploads to the server of `url`. */
void http_expect_set(const char *url, enum http_expect expect);

#endif
