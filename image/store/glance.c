/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Glance's v2 API: the record of an image (nova.image.glance and glanceclient.v2.images).
 */
#include "image/store/glance.h"

#include <string.h>

#define PATCH_TYPE "application/openstack-images-v2.1-json-patch"
#define RETRY_PAUSE_S 1
#define LIST_LIMIT 100

static void glance_close(void *self)
{
	struct glance *glance = self;

	session_close(&glance->session);
	g_free(glance);
}

static void *glance_open(const struct image_config *config, GError **error)
{
	struct glance *glance = g_new0(struct glance, 1);

	glance->config = config;
	session_open(&glance->session, config);
	if ((config->api_servers && *config->api_servers) || config->endpoint_override ||
	    glance->session.own)
		return glance;
	g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_CONFIG,
			    "no way to Glance: set [glance]api_servers or endpoint_override, or "
			    "[keystone_authtoken] for its catalogue, or [novasnap]images = "
			    "directory");
	glance_close(glance);
	return NULL;
}

static char *image_endpoint(struct glance *glance, GError **error)
{
	static const char *const usual[] = {"internal", "public", NULL};
	const char *const *interfaces = glance->config->valid_interfaces;
	char *found = NULL;

	if (!interfaces || !*interfaces)
		interfaces = usual;
	for (; *interfaces && !found; interfaces++) {
		const struct keystone_endpoint wanted = {"image", *interfaces,
							 glance->config->region_name};

		g_clear_error(error);
		found = keystone_endpoint(glance->session.own, &wanted, error);
	}
	if (!found)
		g_prefix_error(error, "set [glance]api_servers or region_name: ");
	return found;
}

/* The server of this try; without a scheme it is http, as nova takes it. */
static char *base_url(struct glance *glance, unsigned server, GError **error)
{
	const struct image_config *config = glance->config;
	g_autofree char *chosen = NULL;
	g_autofree char *full = NULL;
	size_t length;

	if (config->api_servers && *config->api_servers)
		chosen = g_strdup(
			config->api_servers[server % g_strv_length((char **)config->api_servers)]);
	else if (config->endpoint_override)
		chosen = g_strdup(config->endpoint_override);
	else
		chosen = image_endpoint(glance, error);
	if (!chosen)
		return NULL;
	full = strstr(chosen, "://") ? g_strdup(chosen) : g_strconcat("http://", chosen, NULL);
	for (length = strlen(full); length > 0 && full[length - 1] == '/'; length--)
		full[length - 1] = '\0';
	if (g_str_has_suffix(full, "/v2"))
		full[strlen(full) - strlen("/v2")] = '\0';
	return g_steal_pointer(&full);
}

int glance_try(struct glance *glance, struct glance_call *call, struct http_reply *reply,
	       bool *ret_again, GError **error)
{
	*ret_again = false;
	for (;;) {
		g_autoptr(GPtrArray) headers = g_ptr_array_new_with_free_func(g_free);
		g_autofree char *base = base_url(glance, call->server, error);
		g_autofree char *url = NULL;
		g_autofree char *what = NULL;
		struct http_request request = {
			.method = call->method,
			.headers = headers,
			.body = call->body,
			.upload = call->upload,
			.upload_size = call->upload_size,
			.sent = call->sent,
			.opaque = call->opaque,
			.cancel = call->cancel,
		};

		if (!base ||
		    session_add_tokens(&glance->session, call->who, &call->use, headers, error) < 0)
			return -1;
		session_add_header(headers, "Content-Type", call->content_type);
		url = g_strconcat(base, "/v2/images", call->id ? "/" : "", call->id ? call->id : "",
				  call->tail, NULL);
		request.url = url;
		if (http_perform(&glance->session.http, &request, reply, error) < 0)
			return -1;
		if (reply->status >= 200 && reply->status < 300)
			return 0;
		if (reply->status == 401 &&
		    session_change_token(&glance->session, call->who, &call->use)) {
			if (!call->upload)
				continue;
			*ret_again = true;
		}
		what = g_strdup_printf("%s %s", call->method, url);
		http_reply_error(reply, what, error);
		return -1;
	}
}

/* With the retries of nova.image.glance.GlanceClientWrapper.call: the next server each time. */
static int glance_request(struct glance *glance, struct glance_call *call, struct http_reply *reply,
			  GError **error)
{
	for (unsigned attempt = 0;; attempt++) {
		GError *local = NULL;
		bool again;

		if (glance_try(glance, call, reply, &again, &local) == 0)
			return 0;
		if (!g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE) ||
		    attempt >= glance->config->num_retries) {
			g_propagate_error(error, local);
			return -1;
		}
		g_info("%s; tried again in %d s", local->message, RETRY_PAUSE_S);
		g_clear_error(&local);
		call->server++;
		(void)http_pause(RETRY_PAUSE_S, NULL);
	}
}

static struct image_record *parse_reply(const struct http_reply *reply, GError **error)
{
	return image_record_parse(http_reply_document(reply), error);
}

int glance_get(void *self, const struct image_identity *who, const char *id,
	       struct image_record **ret_record, GError **error)
{
	struct glance_call call = {.who = who, .method = "GET", .id = id, .tail = ""};
	struct http_reply reply = {0};
	int rc = glance_request(self, &call, &reply, error);

	if (rc == 0) {
		*ret_record = parse_reply(&reply, error);
		rc = *ret_record ? 0 : -1;
	}
	http_reply_clear(&reply);
	return rc;
}

static char *escape_pointer(const char *name)
{
	g_autoptr(GString) path = g_string_new("/");

	for (; *name; name++) {
		if (*name == '~')
			g_string_append(path, "~0");
		else if (*name == '/')
			g_string_append(path, "~1");
		else
			g_string_append_c(path, *name);
	}
	return g_strdup(path->str);
}

static void patch_text(cJSON *patch, const cJSON *record, const char *name, const char *text)
{
	const cJSON *has = cJSON_GetObjectItemCaseSensitive(record, name);
	g_autofree char *path = escape_pointer(name);
	cJSON *operation;

	if (!text || (cJSON_IsString(has) && g_str_equal(has->valuestring, text)))
		return;
	operation = cJSON_CreateObject();
	cJSON_AddStringToObject(operation, "op", has ? "replace" : "add");
	cJSON_AddStringToObject(operation, "path", path);
	cJSON_AddStringToObject(operation, "value", text);
	cJSON_AddItemToArray(patch, operation);
}

static int glance_update(void *self, const struct image_identity *who, const char *id,
			 const struct image_meta *meta, GError **error)
{
	struct glance_call call = {
		.who = who, .method = "PATCH", .id = id, .tail = "", .content_type = PATCH_TYPE};
	g_autoptr(image_record_t) record = NULL;
	struct http_reply reply = {0};
	cJSON *patch = cJSON_CreateArray();
	const cJSON *property;
	char *body;
	int rc = glance_get(self, who, id, &record, error);

	if (rc == 0) {
		patch_text(patch, record->document, "name", meta->name);
		patch_text(patch, record->document, "disk_format", meta->disk_format);
		patch_text(patch, record->document, "container_format", meta->container_format);
		patch_text(patch, record->document, "visibility", meta->visibility);
		cJSON_ArrayForEach (property, meta->properties) {
			if (cJSON_IsString(property))
				patch_text(patch, record->document, property->string,
					   property->valuestring);
		}
	}
	if (rc == 0 && cJSON_GetArraySize(patch) > 0) {
		body = cJSON_PrintUnformatted(patch);
		call.body = body;
		rc = glance_request(self, &call, &reply, error);
		cJSON_free(body);
		http_reply_clear(&reply);
	}
	cJSON_Delete(patch);
	return rc;
}

static char *list_query(const struct image_property *wanted)
{
	g_autoptr(GString) query = g_string_new("?limit=" G_STRINGIFY(LIST_LIMIT));

	for (; wanted->name; wanted++) {
		g_autofree char *value = g_uri_escape_string(wanted->value, NULL, FALSE);

		g_string_append_printf(query, "&%s=%s", wanted->name, value);
	}
	return g_strdup(query->str);
}

/* Adds a page's records; *ret_next is the tail of the next page, NULL at the end. */
static int take_page(GPtrArray *records, const struct http_reply *reply, char **ret_next,
		     GError **error)
{
	cJSON *page = http_reply_document(reply);
	cJSON *images = cJSON_GetObjectItemCaseSensitive(page, "images");
	const char *next = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(page, "next"));
	const char *query = next ? strchr(next, '?') : NULL;
	int rc = cJSON_IsArray(images) ? 0 : -1;

	*ret_next = g_strdup(query);
	if (rc < 0)
		g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
				    "Glance's answer is no list of images");
	while (rc == 0 && images->child) {
		struct image_record *record = image_record_parse(
			cJSON_DetachItemViaPointer(images, images->child), error);

		if (record)
			g_ptr_array_add(records, record);
		else
			rc = -1;
	}
	cJSON_Delete(page);
	return rc;
}

static int glance_list(void *self, const struct image_identity *who,
		       const struct image_property *wanted, GPtrArray *records, GError **error)
{
	g_autofree char *tail = list_query(wanted);
	size_t bytes = 0;
	int rc = 0;

	for (unsigned page = 0; rc == 0 && tail && page < LIST_PAGES; page++) {
		struct glance_call call = {.who = who, .method = "GET", .tail = tail};
		struct http_reply reply = {0};
		char *next = NULL;

		rc = glance_request(self, &call, &reply, error);
		if (rc == 0)
			rc = take_page(records, &reply, &next, error);
		bytes += reply.body->len;
		if (rc == 0 && bytes > LIST_BYTES_MAX) {
			g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
				    "Glance's list of images has more than %zu bytes",
				    LIST_BYTES_MAX);
			rc = -1;
		}
		http_reply_clear(&reply);
		g_free(tail);
		tail = next;
	}
	return rc;
}

static int glance_remove(void *self, const struct image_identity *who, const char *id,
			 GError **error)
{
	struct glance_call call = {.who = who, .method = "DELETE", .id = id, .tail = ""};
	struct http_reply reply = {0};
	int rc = glance_request(self, &call, &reply, error);

	http_reply_clear(&reply);
	return rc;
}

static char *glance_create(void *self, const struct image_identity *who, const char *name,
			   GError **error)
{
	struct glance_call call = {
		.who = who, .method = "POST", .tail = "", .content_type = "application/json"};
	g_autoptr(image_record_t) record = NULL;
	struct http_reply reply = {0};
	cJSON *body = cJSON_CreateObject();
	char *text;
	char *id = NULL;

	cJSON_AddStringToObject(body, "name", name);
	text = cJSON_PrintUnformatted(body);
	call.body = text;
	if (glance_request(self, &call, &reply, error) == 0) {
		record = parse_reply(&reply, error);
		id = record ? g_strdup(record->id) : NULL;
	}
	http_reply_clear(&reply);
	cJSON_free(text);
	cJSON_Delete(body);
	return id;
}

static char *glance_location(void *self)
{
	return base_url(self, 0, NULL);
}

const struct image_store_ops glance_store_ops = {
	.name = "glance",
	.open = glance_open,
	.close = glance_close,
	.get = glance_get,
	.update = glance_update,
	.list = glance_list,
	.upload = glance_upload,
	.remove = glance_remove,
	.create = glance_create,
	.location = glance_location,
};
