/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sends one HTTP request with libcurl.
 */
#include "image/openstack/http.h"

#include <curl/curl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "image/cancel.h"
#include "image/limits.h"

#define HIDDEN_SECRET "***"
#define REQUEST_ID_HEADER "X-OpenStack-Request-ID"

/* A request in progress, passed to curl's callbacks. */
struct transfer {
	const struct http_request *request;
	struct http_reply *reply;
	struct http_sender *sender; /* of the upload; NULL: there is none */
	bool cancelled;
	gint64 reply_timeout_us; /* limit for the reply to an upload after its last byte was sent */
	gint64 reply_deadline;	 /* monotonic us; 0: the upload is still being sent */
	bool reply_late;
};

static size_t transfer_receive_body(char *data, size_t size, size_t count, void *opaque)
{
	struct transfer *transfer = opaque;
	size_t length = size * count;

	if (length > HTTP_REPLY_SIZE_MAX - transfer->reply->body->len)
		return 0;
	g_string_append_len(transfer->reply->body, data, (gssize)length);
	return length;
}

/* Stores the value of the header line `data` in `*ret_value` if `name` ("name:") begins it. */
static void header_copy_value(const char *name, const char *data, size_t length, char **ret_value)
{
	size_t name_length = strlen(name);

	if (length <= name_length || g_ascii_strncasecmp(data, name, name_length) != 0)
		return;
	g_free(*ret_value);
	*ret_value = g_strstrip(g_strndup(data + name_length, length - name_length));
}

static size_t transfer_receive_header(char *data, size_t size, size_t count, void *opaque)
{
	struct transfer *transfer = opaque;

	header_copy_value("x-subject-token:", data, size * count, &transfer->reply->subject_token);
	header_copy_value("location:", data, size * count, &transfer->reply->location);
	if (transfer->sender)
		http_sender_receive_header(transfer->sender, data, size * count);
	return size * count;
}

/* curl's low speed limit is not enough: a server that sends its reply to an upload byte by byte
 * always makes progress. */
static bool transfer_is_reply_late(struct transfer *transfer, uint64_t sent)
{
	gint64 now = g_get_monotonic_time();

	if (!transfer->sender || !http_sender_has_ended(transfer->sender, sent))
		return false;
	if (transfer->reply_deadline == 0)
		transfer->reply_deadline = now + transfer->reply_timeout_us;
	transfer->reply_late = now > transfer->reply_deadline;
	return transfer->reply_late;
}

/* curl calls this several times a second. A value other than 0 ends the transfer. */
static int transfer_report_progress(void *opaque, curl_off_t down_total, curl_off_t down,
				    curl_off_t up_total, curl_off_t up)
{
	struct transfer *transfer = opaque;

	(void)down_total;
	(void)down;
	(void)up_total;
	if (image_cancel_is_set(transfer->request->cancel)) {
		transfer->cancelled = true;
		return 1;
	}
	if (transfer->sender)
		http_sender_report(transfer->sender, (uint64_t)up);
	return transfer_is_reply_late(transfer, (uint64_t)up);
}

/* Sets close-on-exec, so that child processes do not keep the connections open. */
static curl_socket_t transfer_open_socket(void *opaque, curlsocktype purpose,
					  struct curl_sockaddr *address)
{
	struct transfer *transfer = opaque;
	int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);

	(void)purpose;
	if (fd >= 0 && transfer->sender)
		http_sender_add_socket(transfer->sender, fd);
	return fd;
}

static int transfer_close_socket(void *opaque, curl_socket_t fd)
{
	struct transfer *transfer = opaque;

	if (transfer->sender)
		http_sender_remove_socket(transfer->sender, fd);
	return close(fd);
}

static void set_curl_callbacks(CURL *curl, struct transfer *transfer)
{
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, transfer_receive_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, transfer_receive_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, transfer);
	curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, transfer_open_socket);
	curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, transfer);
	curl_easy_setopt(curl, CURLOPT_CLOSESOCKETFUNCTION, transfer_close_socket);
	curl_easy_setopt(curl, CURLOPT_CLOSESOCKETDATA, transfer);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, transfer_report_progress);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, transfer);
}

static void set_curl_tls(CURL *curl, const struct http_config *config)
{
	if (config->insecure) {
		curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (config->cafile) {
		/* Trust only this file, not the system's folder as well. */
		curl_easy_setopt(curl, CURLOPT_CAINFO, config->cafile);
		curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
	}
	if (config->certfile)
		curl_easy_setopt(curl, CURLOPT_SSLCERT, config->certfile);
	if (config->keyfile)
		curl_easy_setopt(curl, CURLOPT_SSLKEY, config->keyfile);
	/* Never prompt for a passphrase: a daemon has no terminal. */
	curl_easy_setopt(curl, CURLOPT_KEYPASSWD, "");
}

static void set_curl_body(CURL *curl, const struct http_config *config,
			  const struct http_request *request, struct transfer *transfer)
{
	if (request->upload) {
		transfer->sender = http_sender_new(curl, request->url, request->upload,
						   config->stall_timeout_s);
		return;
	}
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)config->request_timeout_s);
	if (request->body) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(request->body));
	}
}

static void set_curl_options(CURL *curl, const struct http_config *config,
			     const struct http_request *request, struct transfer *transfer,
			     char *error_text)
{
	curl_easy_setopt(curl, CURLOPT_URL, request->url);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error_text);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "novasnap/" NOVASNAP_VERSION);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)config->connect_timeout_s);
	set_curl_callbacks(curl, transfer);
	set_curl_tls(curl, config);
	set_curl_body(curl, config, request, transfer);
}

/* Hides the secret as it is, and as it is within JSON. */
static void hide_secret(const char *secret, GString *body)
{
	cJSON *string = cJSON_CreateString(secret);
	char *quoted = cJSON_PrintUnformatted(string);
	size_t length = quoted ? strlen(quoted) : 0;

	if (length > 2) {
		quoted[length - 1] = '\0';
		g_string_replace(body, quoted + 1, HIDDEN_SECRET, 0);
	}
	g_string_replace(body, secret, HIDDEN_SECRET, 0);
	cJSON_free(quoted);
	cJSON_Delete(string);
}

/* An error reply may quote the request, and error replies are logged. */
static void hide_secrets(const struct http_request *request, GString *body)
{
	if (request->secret && *request->secret)
		hide_secret(request->secret, body);
	for (guint i = 0; request->headers && i < request->headers->len; i++) {
		const char *header = g_ptr_array_index(request->headers, i);
		const char *token = strstr(header, "-Token: ");

		token = token ? token + strlen("-Token: ") : "";
		if (*token)
			g_string_replace(body, token, HIDDEN_SECRET, 0);
	}
}

static int transfer_perform(CURL *curl, struct transfer *transfer, const char *error_text,
			    GError **error)
{
	const struct http_request *request = transfer->request;
	struct http_reply *reply = transfer->reply;
	CURLcode code = curl_easy_perform(curl);
	long bytes_sent = 0;

	(void)curl_easy_getinfo(curl, CURLINFO_REQUEST_SIZE, &bytes_sent);
	reply->was_sent = bytes_sent > 0;
	(void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply->status);
	/* 100 Continue is not the reply. */
	if (reply->status < 200)
		reply->status = 0;
	if (reply->status >= 300)
		hide_secrets(request, reply->body);
	if (transfer->sender && http_sender_has_failed(transfer->sender, error))
		return -1;
	if (transfer->cancelled) {
		g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_CANCELLED,
				    "the HTTP request was cancelled");
		return -1;
	}
	/* A server that rejects an upload may close the connection before it has read all of it, or
	 * not complete its reply. The status is valid. */
	if (code == CURLE_OK || reply->status >= 300)
		return 0;
	g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE, "%s %s: %s", request->method,
		    request->url,
		    transfer->reply_late ? "the server did not complete its reply in time"
		    : *error_text	 ? error_text
					 : curl_easy_strerror(code));
	return -1;
}

static void init_curl(void)
{
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* Each request has an id, so that the service's log can be searched for it. */
static struct curl_slist *list_headers(const struct http_request *request,
				       const struct http_sender *sender)
{
	g_autoptr(GPtrArray) own = g_ptr_array_new_with_free_func(g_free);
	struct curl_slist *headers = NULL;
	g_autofree char *uuid = NULL;
	g_autofree char *id = NULL;

	for (guint i = 0; request->headers && i < request->headers->len; i++)
		headers = curl_slist_append(headers, g_ptr_array_index(request->headers, i));
	if (sender && http_sender_header(sender))
		headers = curl_slist_append(headers, http_sender_header(sender));
	http_header_add(own, REQUEST_ID_HEADER, request->request_id);
	if (own->len == 0) {
		uuid = g_uuid_string_random();
		id = g_strconcat("req-", uuid, NULL);
		http_header_add(own, REQUEST_ID_HEADER, id);
	}
	return curl_slist_append(headers, g_ptr_array_index(own, 0));
}

int http_request_send(const struct http_config *config, const struct http_request *request,
		      struct http_reply *reply, GError **error)
{
	static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
	struct transfer transfer = {
		.request = request,
		.reply = reply,
		.reply_timeout_us = (gint64)(config->stall_timeout_s + config->request_timeout_s) *
				    G_USEC_PER_SEC,
	};
	char error_text[CURL_ERROR_SIZE] = "";
	struct curl_slist *headers;
	CURL *curl;
	int rc;

	(void)pthread_once(&curl_once, init_curl);
	curl = curl_easy_init();
	http_reply_clear(reply);
	reply->body = g_string_new(NULL);
	set_curl_options(curl, config, request, &transfer, error_text);
	headers = list_headers(request, transfer.sender);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	rc = transfer_perform(curl, &transfer, error_text, error);
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	http_sender_free(transfer.sender);
	return rc;
}

void http_header_add(GPtrArray *headers, const char *name, const char *value)
{
	if (value && !strpbrk(value, "\r\n"))
		g_ptr_array_add(headers, g_strdup_printf("%s: %s", name, value));
}

void http_url_trim(char *url)
{
	for (size_t length = strlen(url); length > 0 && url[length - 1] == '/'; length--)
		url[length - 1] = '\0';
}
