/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The client of Keystone's v3 API.
 */
#include "image/openstack/keystone.h"

#include <pthread.h>
#include <stdatomic.h>

#include "image/openstack/http.h"
#include "image/openstack/keystone-request.h"

#define EXPIRY_MARGIN_S 60

struct keystone_client {
	const struct keystone_config *user;
	const struct image_config *config;

	pthread_mutex_t lock; /* held during a request, so that one request serves all threads */
	/* Guarded by `lock`. */
	char *token;
	gint64 expires_at; /* unix time in seconds */
	cJSON *catalog;
	bool is_limited;
	atomic_int issued; /* see keystone_client_issued */
};

struct keystone_client *keystone_client_new(const struct keystone_config *user,
					    const struct image_config *config)
{
	struct keystone_client *client;

	if (user->method == KEYSTONE_NONE)
		return NULL;
	client = g_new0(struct keystone_client, 1);
	client->user = user;
	client->config = config;
	client->issued = -1;
	pthread_mutex_init(&client->lock, NULL);
	return client;
}

void keystone_client_free(struct keystone_client *client)
{
	if (!client)
		return;
	g_free(client->token);
	cJSON_Delete(client->catalog);
	pthread_mutex_destroy(&client->lock);
	g_free(client);
}

/* Whether Keystone names the roles of the token, and admin is not among them. */
static bool lacks_admin(const cJSON *token)
{
	const cJSON *roles = cJSON_GetObjectItemCaseSensitive(token, "roles");
	const cJSON *role;

	cJSON_ArrayForEach (role, roles) {
		const char *name =
			cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(role, "name"));

		if (name && g_ascii_strcasecmp(name, "admin") == 0)
			return false;
	}
	return cJSON_GetArraySize(roles) > 0;
}

static int store_token(struct keystone_client *client, struct http_reply *reply, GError **error)
{
	cJSON *document = http_reply_parse(reply);
	cJSON *token = cJSON_GetObjectItemCaseSensitive(document, "token");
	const cJSON *expires = cJSON_GetObjectItemCaseSensitive(token, "expires_at");
	g_autoptr(GDateTime) expiry_time = NULL;

	if (cJSON_IsString(expires))
		expiry_time = g_date_time_new_from_iso8601(expires->valuestring, NULL);
	if (!expiry_time || !reply->subject_token) {
		cJSON_Delete(document);
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_AUTH,
			    "Keystone at %s sent no usable token: no X-Subject-Token, or "
			    "no valid expires_at",
			    client->user->auth_url);
		return -1;
	}
	g_free(client->token);
	client->token = g_steal_pointer(&reply->subject_token);
	client->expires_at = g_date_time_to_unix(expiry_time);
	client->is_limited = lacks_admin(token);
	cJSON_Delete(client->catalog);
	client->catalog = cJSON_DetachItemFromObjectCaseSensitive(token, "catalog");
	cJSON_Delete(document);
	return 0;
}

/* Keystone does not say which part of a credential is wrong. */
static void explain_refusal(const struct keystone_config *user, GError **error)
{
	char *message;

	if (!error || !*error)
		return;
	message = g_strdup_printf("%s; %s", (*error)->message,
				  user->method == KEYSTONE_TOKEN
					  ? "the token has expired, or is another cloud's"
					  : "its name, password, project or domains are wrong");
	g_free((*error)->message);
	(*error)->message = message;
}

/* Requests a token. The caller holds the lock. */
static int fetch_token(struct keystone_client *client, const char *request_id, GError **error)
{
	const struct keystone_config *user = client->user;
	struct http_config http = {
		.cafile = user->cafile,
		.certfile = user->certfile,
		.keyfile = user->keyfile,
		.insecure = user->insecure,
		.connect_timeout_s = client->config->connect_timeout_s,
		.request_timeout_s = client->config->request_timeout_s,
	};
	g_autofree char *url = keystone_request_url(user);
	g_autoptr(GPtrArray) headers = g_ptr_array_new_with_free_func(g_free);
	struct http_request request = {.method = "POST", .url = url, .headers = headers};
	struct http_reply reply = {0};
	char *body = keystone_request_body(user);
	int rc;

	http_header_add(headers, "Content-Type", "application/json");
	if (user->method == KEYSTONE_TOKEN)
		http_header_add(headers, "X-Auth-Token", user->token);
	request.body = body;
	request.secret = keystone_request_secret(user);
	request.request_id = request_id;
	rc = http_request_send(&http, &request, &reply, error);
	cJSON_free(body);
	if (rc == 0 && reply.status != 201) {
		g_autofree char *who = image_keystone_describe(user);
		g_autofree char *action =
			g_strdup_printf("requesting a token for %s: POST %s", who, url);

		http_reply_set_error(&reply, action, error);
		if (reply.status == 401)
			explain_refusal(user, error);
		rc = -1;
	}
	if (rc == 0)
		rc = store_token(client, &reply, error);
	http_reply_clear(&reply);
	return rc;
}

/* Makes sure that the token is valid. The caller holds the lock. */
static int ensure_token(struct keystone_client *client, bool renew, const char *request_id,
			GError **error)
{
	gint64 now = g_get_real_time() / G_USEC_PER_SEC;
	int rc;

	if (client->token && !renew && now < client->expires_at - EXPIRY_MARGIN_S)
		return 0;
	rc = fetch_token(client, request_id, error);
	atomic_store(&client->issued, rc == 0);
	return rc;
}

int keystone_client_issued(struct keystone_client *client)
{
	return client ? atomic_load(&client->issued) : -1;
}

int image_check_keystone(const struct keystone_config *user, const struct image_config *config,
			 GError **error)
{
	struct keystone_client *client = keystone_client_new(user, config);
	g_autofree char *token = NULL;

	if (client)
		token = keystone_client_token(client, false, NULL, error);
	else
		g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_CONFIG,
				    "no credential is configured: set auth_type, auth_url and the "
				    "keys of this type");
	keystone_client_free(client);
	return token ? 0 : -1;
}

char *keystone_client_token(struct keystone_client *client, bool renew, const char *request_id,
			    GError **error)
{
	char *token = NULL;

	pthread_mutex_lock(&client->lock);
	if (ensure_token(client, renew, request_id, error) == 0)
		token = g_strdup(client->token);
	pthread_mutex_unlock(&client->lock);
	return token;
}

bool keystone_client_is_limited(struct keystone_client *client)
{
	bool is_limited;

	pthread_mutex_lock(&client->lock);
	is_limited = client->is_limited;
	pthread_mutex_unlock(&client->lock);
	return is_limited;
}

static const char *json_member_string(const cJSON *object, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

static const char *service_endpoint(const cJSON *service, const struct keystone_endpoint *wanted)
{
	const cJSON *endpoint;

	cJSON_ArrayForEach (endpoint, cJSON_GetObjectItemCaseSensitive(service, "endpoints")) {
		const char *interface = json_member_string(endpoint, "interface");
		const char *region = json_member_string(endpoint, "region_id");
		const char *url = json_member_string(endpoint, "url");

		if (url && g_strcmp0(interface, wanted->interface) == 0 &&
		    (!wanted->region || g_strcmp0(region, wanted->region) == 0))
			return url;
	}
	return NULL;
}

static const char *catalog_endpoint(const struct keystone_client *client,
				    const struct keystone_endpoint *wanted)
{
	const cJSON *service;

	cJSON_ArrayForEach (service, client->catalog) {
		const char *type = json_member_string(service, "type");
		const char *url = NULL;

		if (g_strcmp0(type, wanted->type) == 0)
			url = service_endpoint(service, wanted);
		if (url)
			return url;
	}
	return NULL;
}

char *keystone_client_endpoint(struct keystone_client *client,
			       const struct keystone_endpoint *wanted, const char *request_id,
			       GError **error)
{
	char *endpoint = NULL;

	pthread_mutex_lock(&client->lock);
	if (ensure_token(client, false, request_id, error) == 0) {
		endpoint = g_strdup(catalog_endpoint(client, wanted));
		if (!endpoint)
			g_set_error(
				error, IMAGE_ERROR, IMAGE_ERROR_CONFIG,
				"the catalogue of Keystone at %s has no %s endpoint of a service "
				"of type %s in region %s",
				client->user->auth_url, wanted->interface, wanted->type,
				wanted->region ? wanted->region : "(any)");
	}
	pthread_mutex_unlock(&client->lock);
	return endpoint;
}
