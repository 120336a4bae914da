/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The reply of an HTTP server: parsing its JSON document, or converting an error reply.
 */
#ifndef NOVASNAP_IMAGE_HTTP_REPLY_H
#define NOVASNAP_IMAGE_HTTP_REPLY_H

#include <cjson/cJSON.h>
#include <glib.h>
#include <stdbool.h>

struct http_reply {
	long status;	     /* 0: no reply was received */
	GString *body;	     /* at most HTTP_REPLY_SIZE_MAX bytes; NULL before the first request */
	char *subject_token; /* the header X-Subject-Token; NULL: missing */
	char *location;	     /* the header Location; NULL: missing */
	bool was_sent;	     /* part of the request may have reached the server */
};

/* Frees the contents and zeroes the reply. */
void http_reply_clear(struct http_reply *reply);

/* Parses the body as JSON. The caller frees the document with cJSON_Delete(). Returns NULL if the
 * body is not JSON or has more than HTTP_REPLY_VALUES_MAX values. */
cJSON *http_reply_parse(const struct http_reply *reply);

/*
 * Sets an error from an error reply, with the status and the server's text without its markup.
 * `request` describes the request ("GET http://..."). The code is IMAGE_ERROR_AUTH (401),
 * _FORBIDDEN (403), _NOT_FOUND (404), _CONFLICT (409), _GONE (410), _TOO_LARGE (413), _FORMAT
 * (415), _UNAVAILABLE (417, 429, 500 and above), or else _FAILED.
 */
void http_reply_set_error(const struct http_reply *reply, const char *request, GError **error);

#endif
