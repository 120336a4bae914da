/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The answers of HTTP servers. The linker puts these functions in the place of
 * image/openstack/http.c's in the targets that want them.
 */
#include <stdlib.h>
#include <string.h>

#include "image/internal.h"
#include "tests/fuzz/fuzz.h"

/* So the compiler holds them against internal.h. */
__typeof__(http_perform) __wrap_http_perform;
__typeof__(http_pause) __wrap_http_pause;

static struct fuzz_input answers;

void fuzz_answer_from(const struct fuzz_input *input)
{
	answers = *input;
}

int __wrap_http_perform(const struct http_config *config, const struct http_request *request,
			struct http_reply *reply, GError **error)
{
	size_t length;
	g_autofree char *answer = fuzz_part(&answers, &length);
	char *end = answer ? memchr(answer, '\n', length) : NULL;
	char *token;

	(void)config;
	http_reply_clear(reply);
	reply->body = g_string_new(NULL);
	if (request->upload && pipeline_drain(request->upload) < 0) {
		g_propagate_error(error, pipeline_error(request->upload));
		return -1;
	}
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

bool __wrap_http_pause(unsigned seconds, const atomic_int *cancel)
{
	(void)seconds;
	(void)cancel;
	return true;
}
