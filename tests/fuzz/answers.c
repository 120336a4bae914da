/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The replies of HTTP servers. The linker replaces http_request_send() and image_cancel_sleep() by
 * these functions in the targets that want them.
 */
#include <stdlib.h>

#include "image/cancel.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/upload.h"

/* So the compiler compares these functions with those that they replace. */
__typeof__(http_request_send) __wrap_http_request_send;
__typeof__(image_cancel_sleep) __wrap_image_cancel_sleep;

static struct fuzz_input answers;

void fuzz_answer_from(const struct fuzz_input *input)
{
	answers = *input;
}

int __wrap_http_request_send(const struct http_config *config, const struct http_request *request,
			     struct http_reply *reply, GError **error)
{
	size_t length;
	g_autofree char *answer = fuzz_part(&answers, &length);
	char *end = answer ? memchr(answer, '\n', length) : NULL;
	char *token;

	(void)config;
	http_reply_clear(reply);
	reply->body = g_string_new(NULL);
	if (request->upload && http_upload_drain(request->upload, error) < 0)
		return -1;
	if (!answer) {
		g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE, "no answer");
		return -1;
	}
	if (!end)
		return 0;
	*end = '\0';
	reply->status = strtol(answer, &token, 10);
	if (*token == ' ')
		reply->subject_token = g_strdup(token + 1);
	g_string_append_len(reply->body, end + 1, (gssize)(length - (size_t)(end + 1 - answer)));
	return 0;
}

bool __wrap_image_cancel_sleep(const atomic_int *cancel, unsigned seconds)
{
	(void)cancel;
	(void)seconds;
	return true;
}
