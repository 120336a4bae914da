/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sends one HTTP request with libcurl.
 */
#ifndef NOVASNAP_IMAGE_HTTP_H
#define NOVASNAP_IMAGE_HTTP_H

#include "image/image.h"
#include "image/openstack/http-reply.h"
#include "image/openstack/http-upload.h"

/* How to connect to a server: the options of [glance], [cinder], [keystone_authtoken] or
 * [service_user]. The fields have the same meaning as in struct image_config. */
struct http_config {
	const char *cafile;
	const char *certfile;
	const char *keyfile;
	bool insecure;
	unsigned connect_timeout_s;
	unsigned request_timeout_s;
	unsigned stall_timeout_s;
};

struct http_request {
	const char *method; /* GET, POST, PATCH, PUT, DELETE */
	const char *url;
	GPtrArray *headers;		  /* of char *, "Name: value"; may be NULL */
	const char *body;		  /* NULL: no body, or `upload` */
	const struct http_upload *upload; /* NULL: no body, or `body` */
	/* A secret in the body, to be hidden in error replies; or NULL. Tokens in the headers are
	 * always hidden. */
	const char *secret;
	/* The header X-OpenStack-Request-ID, "req-<uuid>", which the service logs; NULL: an id of
	 * this request alone. */
	const char *request_id;
	const atomic_int *cancel; /* may be NULL */
};

/*
 * Sends a request and receives the reply, of any status. Redirects are not followed, and proxies
 * from the environment are not used, so that a token reaches only the configured server. A request
 * without an upload takes at most request_timeout_s. An upload has no total limit: it fails after
 * stall_timeout_s without progress, or if its reply is not complete stall_timeout_s +
 * request_timeout_s after the last byte was sent. An upload of more than 1 MiB asks with "Expect:
 * 100-continue" before it sends its body, as http-expect.h says. A refusal that comes before or
 * within the body is the reply, also if the server has closed the connection.
 *
 * `reply` is zeroed or holds an earlier reply. The caller always clears it with http_reply_clear().
 * Returns 0, or -1 with IMAGE_ERROR_UNAVAILABLE if there was no complete reply,
 * IMAGE_ERROR_CANCELLED, or the error of the upload's `read`.
 */
int http_request_send(const struct http_config *config, const struct http_request *request,
		      struct http_reply *reply, GError **error);

/* Adds the header "name: value" to an array that frees its elements with g_free(). A NULL value is
 * ignored, and so is a value with a line break, which could inject headers. */
void http_header_add(GPtrArray *headers, const char *name, const char *value);

/* Removes all slashes at the end of a URL. */
void http_url_trim(char *url);

#endif
