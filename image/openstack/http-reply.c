/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Replies of HTTP servers.
 */
#include "image/openstack/http-reply.h"

#include <string.h>

#include "image/image.h"
#include "image/limits.h"

void http_reply_clear(struct http_reply *reply)
{
	if (reply->body)
		g_string_free(reply->body, TRUE);
	g_free(reply->subject_token);
	g_free(reply->location);
	*reply = (struct http_reply){0};
}

/* Each value except the first is preceded by a comma or a bracket. Those within strings are
 * counted, too, for which the limit leaves room. */
static bool reply_has_few_values(const GString *body)
{
	size_t count = 0;

	for (size_t i = 0; i < body->len; i++)
		count += body->str[i] == ',' || body->str[i] == '[' || body->str[i] == '{';
	return count <= HTTP_REPLY_VALUES_MAX;
}

cJSON *http_reply_parse(const struct http_reply *reply)
{
	return reply_has_few_values(reply->body)
		       ? cJSON_ParseWithLength(reply->body->str, reply->body->len)
		       : NULL;
}

/* Replaces the character references that Python's html.escape() writes. */
static void html_unescape(char *line)
{
	static const struct {
		const char *reference;
		char character;
	} references[] = {
		{"&#x27;", '\''}, {"&quot;", '"'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&amp;", '&'},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(references); i++) {
		size_t length = strlen(references[i].reference);
		char *at = line;

		while ((at = strstr(at, references[i].reference))) {
			*at++ = references[i].character;
			memmove(at, at + length - 1, strlen(at + length - 1) + 1);
		}
	}
}

/* Returns the server's text as one line, without HTML tags, titles and styles. */
static char *reply_text(const struct http_reply *reply)
{
	size_t length = MIN(reply->body->len, HTTP_REFUSAL_SIZE_MAX);
	g_autofree char *valid = g_utf8_make_valid(reply->body->str, (gssize)length);
	g_autoptr(GRegex) tags = g_regex_new("<(title|style)>.*?</\\1>|<[^>]*>",
					     G_REGEX_CASELESS | G_REGEX_DOTALL, 0, NULL);
	g_autoptr(GRegex) blanks = g_regex_new("\\s+", 0, 0, NULL);
	g_autofree char *text = g_regex_replace(tags, valid, -1, 0, " ", 0, NULL);
	g_autofree char *line = g_regex_replace(blanks, text ? text : valid, -1, 0, " ", 0, NULL);

	html_unescape(line);
	g_strstrip(line);
	return g_utf8_strlen(line, -1) > IMAGE_FOREIGN_TEXT_MAX
		       ? g_utf8_substring(line, 0, IMAGE_FOREIGN_TEXT_MAX)
		       : g_steal_pointer(&line);
}

static enum image_error status_error_code(long status)
{
	switch (status) {
	case 401:
		return IMAGE_ERROR_AUTH;
	case 403:
		return IMAGE_ERROR_FORBIDDEN;
	case 404:
		return IMAGE_ERROR_NOT_FOUND;
	case 409:
		return IMAGE_ERROR_CONFLICT;
	case 410:
		return IMAGE_ERROR_GONE;
	case 413:
		return IMAGE_ERROR_TOO_LARGE;
	case 415:
		return IMAGE_ERROR_FORMAT;
	case 417: /* the next upload does not send the header "Expect" */
	case 429:
		return IMAGE_ERROR_UNAVAILABLE;
	default:
		return status >= 500 ? IMAGE_ERROR_UNAVAILABLE : IMAGE_ERROR_FAILED;
	}
}

void http_reply_set_error(const struct http_reply *reply, const char *request, GError **error)
{
	g_autofree char *text = reply_text(reply);
	g_autofree char *location = NULL;

	if (reply->status >= 300 && reply->status < 400 && reply->location) {
		location = g_utf8_make_valid(reply->location, -1);
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
			    "%s: answered %ld, a redirect to %.*s, which is not followed; if that "
			    "is the right server, configure it",
			    request, reply->status, IMAGE_FOREIGN_TEXT_MAX, location);
		return;
	}
	g_set_error(error, IMAGE_ERROR, status_error_code(reply->status), "%s: answered %ld: %s",
		    request, reply->status, *text ? text : "(empty body)");
}
