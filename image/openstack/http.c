/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One HTTP request with libcurl, and reading a refusal.
 */
#include <curl/curl.h>
#include <string.h>
#include <sys/socket.h>

#include "image/internal.h"

#define WORDS_MAX 300
#define HIDDEN "***"
#define EXPECT_TIMEOUT_MS 5000L
#define UPLOAD_BUFFER (256L * 1024)

struct transfer {
	const struct http_request *request;
	struct http_reply *reply;
	bool read_failed;
	bool cancelled;
	gint64 patience_us;
	gint64 answer_by; /* monotonic us: all was sent, and so long is waited; 0: not yet */
	bool late;
};

static size_t take_body(char *data, size_t size, size_t count, void *opaque)
{
	struct transfer *transfer = opaque;
	size_t length = size * count;

	if (length > REPLY_MAX - transfer->reply->body->len)
		return 0;
	g_string_append_len(transfer->reply->body, data, (gssize)length);
	return length;
}

static void keep_header(const char *name, const char *data, size_t length, char **ret_value)
{
	size_t skipped = strlen(name);

	if (length <= skipped || g_ascii_strncasecmp(data, name, skipped) != 0)
		return;
	g_free(*ret_value);
	*ret_value = g_strstrip(g_strndup(data + skipped, length - skipped));
}

static size_t take_header(char *data, size_t size, size_t count, void *opaque)
{
	struct transfer *transfer = opaque;

	keep_header("x-subject-token:", data, size * count, &transfer->reply->subject_token);
	keep_header("location:", data, size * count, &transfer->reply->location);
	return size * count;
}

static size_t give_body(char *buffer, size_t size, size_t count, void *opaque)
{
	struct transfer *transfer = opaque;
	ssize_t got = pipeline_read(transfer->request->upload, buffer, size * count);

	if (got >= 0)
		return (size_t)got;
	transfer->read_failed = true;
	return CURL_READFUNC_ABORT;
}

/* An answer to an upload that comes byte by byte is not waited for longer than one that does not
 * come, and one to a request without a body. */
static bool is_late(struct transfer *transfer, uint64_t sent)
{
	gint64 now = g_get_monotonic_time();

	if (!transfer->request->upload || sent < transfer->request->upload_size)
		return false;
	if (transfer->answer_by == 0)
		transfer->answer_by = now + transfer->patience_us;
	transfer->late = now > transfer->answer_by;
	return transfer->late;
}

static int look_around(void *opaque, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
		       curl_off_t up)
{
	struct transfer *transfer = opaque;
	const struct http_request *request = transfer->request;

	(void)down_total;
	(void)down;
	(void)up_total;
	if (request->cancel && atomic_load(request->cancel) != 0) {
		transfer->cancelled = true;
		return 1;
	}
	if (request->upload && request->sent)
		request->sent(request->opaque, (uint64_t)up);
	return is_late(transfer, (uint64_t)up);
}

/* Programs that are started meanwhile must not keep a connection open that we close. */
static curl_socket_t open_socket(void *opaque, curlsocktype purpose, struct curl_sockaddr *address)
{
	(void)opaque;
	(void)purpose;
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static void set_options(CURL *curl, const struct http_config *config,
			const struct http_request *request, struct transfer *transfer, char *words)
{
	curl_easy_setopt(curl, CURLOPT_URL, request->url);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, words);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	/* A token goes to the server that is configured, and nowhere else: neither to where that
	 * one points, nor to a proxy that the environment names. */
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "novasnap/" NOVASNAP_VERSION);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)config->connect_timeout_s);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, transfer);
	curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, look_around);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, transfer);
	if (config->insecure) {
		curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (config->cafile) {
		/* It alone is trusted. */
		curl_easy_setopt(curl, CURLOPT_CAINFO, config->cafile);
		curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
	}
	if (config->certfile)
		curl_easy_setopt(curl, CURLOPT_SSLCERT, config->certfile);
	if (config->keyfile)
		curl_easy_setopt(curl, CURLOPT_SSLKEY, config->keyfile);
	/* Nobody is there to be asked for one. */
	curl_easy_setopt(curl, CURLOPT_KEYPASSWD, "");

	if (request->upload) {
		curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(curl, CURLOPT_READFUNCTION, give_body);
		curl_easy_setopt(curl, CURLOPT_READDATA, transfer);
		curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->upload_size);
		curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BUFFER);
		curl_easy_setopt(curl, CURLOPT_EXPECT_100_TIMEOUT_MS, EXPECT_TIMEOUT_MS);
		curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
		curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)config->stall_timeout_s);
	} else {
		curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)config->request_timeout_s);
		if (request->body) {
			curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body);
			curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(request->body));
		}
	}
}

/* A refusal may quote what was sent, and refusals are logged. */
static void hide_secrets(const struct http_request *request, GString *body)
{
	if (request->secret && *request->secret)
		g_string_replace(body, request->secret, HIDDEN, 0);
	for (guint i = 0; request->headers && i < request->headers->len; i++) {
		const char *header = g_ptr_array_index(request->headers, i);
		const char *value = strstr(header, "-Token: ");

		value = value ? value + strlen("-Token: ") : "";
		if (*value)
			g_string_replace(body, value, HIDDEN, 0);
	}
}

static int perform(CURL *curl, struct transfer *transfer, char *words, GError **error)
{
	const struct http_request *request = transfer->request;
	CURLcode code = curl_easy_perform(curl);

	(void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &transfer->reply->status);
	/* Only the last status counts: 100 says no more than "go on". */
	if (transfer->reply->status < 200)
		transfer->reply->status = 0;
	if (transfer->reply->status >= 300)
		hide_secrets(request, transfer->reply->body);
	if (transfer->read_failed) {
		GError *why = pipeline_error(request->upload);

		if (!why)
			why = g_error_new_literal(IMAGE_ERROR, IMAGE_ERROR_FAILED,
						  "reading the image failed");
		g_propagate_error(error, why);
		return -1;
	}
	if (transfer->cancelled) {
		g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_CANCELLED,
				    "the request to the image store was cancelled");
		return -1;
	}
	/* A refusal that came while the body was still being sent breaks the sending, and counts.
	 */
	if (code == CURLE_OK || (transfer->reply->status >= 300 && !transfer->late))
		return 0;
	g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE, "%s %s: %s", request->method,
		    request->url,
		    transfer->late ? "the server's answer does not come to an end"
		    : *words	   ? words
				   : curl_easy_strerror(code));
	return -1;
}

int http_perform(const struct http_config *config, const struct http_request *request,
		 struct http_reply *reply, GError **error)
{
	struct transfer transfer = {
		.request = request,
		.reply = reply,
		.patience_us = (gint64)(config->stall_timeout_s + config->request_timeout_s) *
			       G_USEC_PER_SEC,
	};
	char words[CURL_ERROR_SIZE] = "";
	struct curl_slist *headers = NULL;
	CURL *curl = curl_easy_init();
	int rc;

	http_reply_clear(reply);
	reply->body = g_string_new(NULL);
	for (guint i = 0; request->headers && i < request->headers->len; i++)
		headers = curl_slist_append(headers, g_ptr_array_index(request->headers, i));
	if (request->upload)
		headers = curl_slist_append(headers, "Expect: 100-continue");
	set_options(curl, config, request, &transfer, words);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	rc = perform(curl, &transfer, words, error);
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	return rc;
}

void http_reply_clear(struct http_reply *reply)
{
	if (reply->body)
		g_string_free(reply->body, TRUE);
	g_free(reply->subject_token);
	g_free(reply->location);
	*reply = (struct http_reply){0};
}

/* A value has a comma or a bracket before it, but for the first. Those that stand in texts are
 * counted too: there is room for them. */
static bool has_few_values(const GString *body)
{
	size_t count = 0;

	for (size_t i = 0; i < body->len; i++)
		count += body->str[i] == ',' || body->str[i] == '[' || body->str[i] == '{';
	return count <= REPLY_VALUES_MAX;
}

cJSON *http_reply_document(const struct http_reply *reply)
{
	return has_few_values(reply->body)
		       ? cJSON_ParseWithLength(reply->body->str, reply->body->len)
		       : NULL;
}

/* The references that Python's html.escape writes. */
static void unescape(char *line)
{
	static const struct {
		const char *reference;
		char meant;
	} references[] = {
		{"&#x27;", '\''}, {"&quot;", '"'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&amp;", '&'},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(references); i++) {
		size_t length = strlen(references[i].reference);
		char *at = line;

		while ((at = strstr(at, references[i].reference))) {
			*at++ = references[i].meant;
			memmove(at, at + length - 1, strlen(at + length - 1) + 1);
		}
	}
}

/* What a server says of a refusal, without its HTML or JSON around it. */
static char *reply_words(const struct http_reply *reply)
{
	size_t length = MIN(reply->body->len, REFUSAL_MAX);
	g_autofree char *valid = g_utf8_make_valid(reply->body->str, (gssize)length);
	g_autoptr(GRegex) tags = g_regex_new("<(title|style)>.*?</\\1>|<[^>]*>",
					     G_REGEX_CASELESS | G_REGEX_DOTALL, 0, NULL);
	g_autoptr(GRegex) blanks = g_regex_new("\\s+", 0, 0, NULL);
	g_autofree char *text = g_regex_replace(tags, valid, -1, 0, " ", 0, NULL);
	g_autofree char *line = g_regex_replace(blanks, text ? text : valid, -1, 0, " ", 0, NULL);

	unescape(line);
	g_strstrip(line);
	return g_utf8_strlen(line, -1) > WORDS_MAX ? g_utf8_substring(line, 0, WORDS_MAX)
						   : g_steal_pointer(&line);
}

static enum image_error status_code(long status)
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
	default:
		return status >= 500 || status == 429 ? IMAGE_ERROR_UNAVAILABLE
						      : IMAGE_ERROR_FAILED;
	}
}

void http_reply_error(const struct http_reply *reply, const char *what, GError **error)
{
	g_autofree char *words = reply_words(reply);
	g_autofree char *place = NULL;

	if (reply->status >= 300 && reply->status < 400 && reply->location) {
		place = g_utf8_make_valid(reply->location, -1);
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
			    "%s: answered %ld, that it is to be found at %.*s: this is not "
			    "followed; if it is right, it must be configured",
			    what, reply->status, WORDS_MAX, place);
		return;
	}
	g_set_error(error, IMAGE_ERROR, status_code(reply->status), "%s: answered %ld: %s", what,
		    reply->status, *words ? words : "(no words)");
}

bool http_pause(unsigned seconds, const atomic_int *cancel)
{
	for (unsigned i = 0; i < seconds * 10; i++) {
		if (cancel && atomic_load(cancel) != 0)
			return false;
		g_usleep(G_USEC_PER_SEC / 10);
	}
	return true;
}
