/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Glance's v2 API: the record of an image (nova.image.glance and glanceclient.v2.images).
 */
#include "image/glance.h"

#include <string.h>

#define PATCH_TYPE "application/openstack-images-v2.1-json-patch"
#define RETRY_PAUSE_S 1

static void glance_close(void *self)
{
	struct glance *glance = self;

	keystone_free(glance->own);
	keystone_free(glance->service);
	g_free(glance);
}

static void *glance_open(const struct image_config *config, GError **error)
{
	struct glance *glance = g_new0(struct glance, 1);

	glance->config = config;
	glance->http = (struct http_config){
		.cafile = config->cafile,
		.certfile = config->certfile,
		.keyfile = config->keyfile,
		.insecure = config->insecure,
		.connect_timeout_s = config->connect_timeout_s,
		.request_timeout_s = config->request_timeout_s,
		.stall_timeout_s = config->stall_timeout_s,
	};
	glance->own = keystone_new(&config->auth, config);
	if (config->send_service_user_token)
		glance->service = keystone_new(&config->service, config);
	if ((config->api_servers && *config->api_servers) || config->endpoint_override ||
	    glance->own)
		return glance;
	g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_CONFIG,
			    "no way to Glance: set [glance]api_servers or endpoint_override, or "
			    "[keystone_authtoken] for its catalogue, or [novasnap]images = "
			    "directory");
	glance_close(glance);
	return NULL;
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
		chosen = keystone_image_endpoint(glance->own, error);
	if (!chosen)
		return NULL;
	full = strstr(chosen, "://") ? g_strdup(chosen) : g_strconcat("http://", chosen, NULL);
	for (length = strlen(full); length > 0 && full[length - 1] == '/'; length--)
		full[length - 1] = '\0';
	if (g_str_has_suffix(full, "/v2"))
		full[strlen(full) - strlen("/v2")] = '\0';
	return g_steal_pointer(&full);
}

static void add_header(GPtrArray *headers, const char *name, const char *value)
{
	/* What comes from a cast must not be able to add lines of its own. */
	if (value && !strpbrk(value, "\r\n"))
		g_ptr_array_add(headers, g_strdup_printf("%s: %s", name, value));
}

static int add_tokens(struct glance *glance, struct glance_call *call, GPtrArray *headers,
		      GError **error)
{
	const struct image_identity *who = call->who;
	g_autofree char *own = NULL;
	g_autofree char *service = NULL;

	if (!who->token || call->use_own) {
		if (glance->own) {
			own = keystone_token(glance->own, false, error);
			if (!own)
				return -1;
		}
	}
	add_header(headers, "X-Auth-Token", own ? own : who->token);
	if (glance->service) {
		service = keystone_token(glance->service, call->renewed, error);
		if (!service)
			return -1;
		add_header(headers, "X-Service-Token", service);
	}
	/* A Glance without Keystone knows who asks by these (generate_identity_headers). */
	if (!glance->own) {
		g_autofree char *roles = who->roles ? g_strjoinv(",", (char **)who->roles) : NULL;

		add_header(headers, "X-User-Id", who->user_id);
		add_header(headers, "X-Tenant-Id", who->project_id);
		add_header(headers, "X-Roles", roles);
		add_header(headers, "X-Identity-Status", "Confirmed");
	}
	return 0;
}

/* Whether another token may help after a 401. */
static bool change_token(struct glance *glance, struct glance_call *call)
{
	g_autofree char *token = NULL;

	if (!glance->own && !glance->service)
		return false;
	if (!call->use_own && call->who->token && glance->own) {
		g_info("image %s: the user's token is refused, ours is used", call->id);
		call->use_own = true;
		return true;
	}
	if (call->renewed)
		return false;
	call->renewed = true;
	if (glance->own)
		token = keystone_token(glance->own, true, NULL);
	return true;
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

		if (!base || add_tokens(glance, call, headers, error) < 0)
			return -1;
		add_header(headers, "Content-Type", call->content_type);
		add_header(headers, "X-OpenStack-Request-ID", call->who->request_id);
		url = g_strconcat(base, "/v2/images", call->id ? "/" : "", call->id ? call->id : "",
				  call->tail, NULL);
		request.url = url;
		if (http_perform(&glance->http, &request, reply, error) < 0)
			return -1;
		if (reply->status >= 200 && reply->status < 300)
			return 0;
		if (reply->status == 401 && change_token(glance, call)) {
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
	return image_record_parse(cJSON_ParseWithLength(reply->body->str, reply->body->len), error);
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
	.upload = glance_upload,
	.remove = glance_remove,
	.create = glance_create,
	.location = glance_location,
};
