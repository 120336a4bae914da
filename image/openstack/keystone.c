/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The client of Keystone's v3 API.
 */
#include "image/openstack/keystone.h"

#include <pthread.h>
#include <string.h>

#include "image/openstack/http.h"

#define EXPIRY_MARGIN_S 60

struct keystone_client {
	const struct keystone_config *user;
	const struct image_config *config;

	pthread_mutex_t lock; /* held during a request, so that one request serves all threads */
	/* Guarded by `lock`. */
	char *token;
	gint64 expires_at; /* unix time in seconds */
	cJSON *catalog;
};

struct keystone_client *keystone_client_new(const struct keystone_config *user,
					    const struct image_config *config)
{
	struct keystone_client *client;

	if (!user->auth_url || !user->username)
		return NULL;
	client = g_new0(struct keystone_client, 1);
	client->user = user;
	client->config = config;
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

/* Adds the member `key`: {"id": ...} or {"name": ..., "domain": {...}}. */
static void json_add_entity(cJSON *to, const char *key, const char *id, const char *name,
			    const char *domain_id, const char *domain_name)
{
	cJSON *object = cJSON_AddObjectToObject(to, key);
	cJSON *domain;

	if (id) {
		cJSON_AddStringToObject(object, "id", id);
		return;
	}
	cJSON_AddStringToObject(object, "name", name);
	domain = cJSON_AddObjectToObject(object, "domain");
	if (domain_id)
		cJSON_AddStringToObject(domain, "id", domain_id);
	else
		cJSON_AddStringToObject(domain, "name", domain_name ? domain_name : "Default");
}

static char *token_request_body(const struct keystone_config *user)
{
	cJSON *root = cJSON_CreateObject();
	cJSON *auth = cJSON_AddObjectToObject(root, "auth");
	cJSON *identity = cJSON_AddObjectToObject(auth, "identity");
	cJSON *methods = cJSON_AddArrayToObject(identity, "methods");
	cJSON *password = cJSON_AddObjectToObject(identity, "password");
	cJSON *scope;
	char *body;

	cJSON_AddItemToArray(methods, cJSON_CreateString("password"));
	json_add_entity(password, "user", NULL, user->username, user->user_domain_id,
			user->user_domain_name);
	cJSON_AddStringToObject(cJSON_GetObjectItemCaseSensitive(password, "user"), "password",
				user->password ? user->password : "");
	if (user->project_id || user->project_name) {
		scope = cJSON_AddObjectToObject(auth, "scope");
		json_add_entity(scope, "project", user->project_id, user->project_name,
				user->project_domain_id, user->project_domain_name);
	}
	body = cJSON_PrintUnformatted(root);
	cJSON_Delete(root);
	return body;
}

static char *tokens_url(const char *auth_url)
{
	g_autofree char *base = g_strdup(auth_url);

	http_url_trim(base);
	return g_strconcat(base, g_str_has_suffix(base, "/v3") ? "" : "/v3", "/auth/tokens", NULL);
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
	cJSON_Delete(client->catalog);
	client->catalog = cJSON_DetachItemFromObjectCaseSensitive(token, "catalog");
	cJSON_Delete(document);
	return 0;
}

/* Requests a token. The caller holds the lock. */
static int fetch_token(struct keystone_client *client, GError **error)
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
	g_autofree char *url = tokens_url(user->auth_url);
	g_autoptr(GPtrArray) headers = g_ptr_array_new_with_free_func(g_free);
	struct http_request request = {.method = "POST", .url = url, .headers = headers};
	struct http_reply reply = {0};
	char *body = token_request_body(user);
	int rc;

	http_header_add(headers, "Content-Type", "application/json");
	request.body = body;
	request.secret = user->password;
	rc = http_request_send(&http, &request, &reply, error);
	cJSON_free(body);
	if (rc == 0 && reply.status != 201) {
		g_autofree char *action =
			g_strdup_printf("requesting a token for %s: POST %s", user->username, url);

		http_reply_set_error(&reply, action, error);
		rc = -1;
	}
	if (rc == 0)
		rc = store_token(client, &reply, error);
	http_reply_clear(&reply);
	return rc;
}

/* Makes sure that the token is valid. The caller holds the lock. */
static int ensure_token(struct keystone_client *client, bool renew, GError **error)
{
	gint64 now = g_get_real_time() / G_USEC_PER_SEC;

	if (client->token && !renew && now < client->expires_at - EXPIRY_MARGIN_S)
		return 0;
	return fetch_token(client, error);
}

int image_check_keystone(const struct keystone_config *user, const struct image_config *config,
			 GError **error)
{
	struct keystone_client *client = keystone_client_new(user, config);
	g_autofree char *token = NULL;

	if (client)
		token = keystone_client_token(client, false, error);
	else
		g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_CONFIG,
				    "auth_url and username are not both set");
	keystone_client_free(client);
	return token ? 0 : -1;
}

char *keystone_client_token(struct keystone_client *client, bool renew, GError **error)
{
	char *token = NULL;

	pthread_mutex_lock(&client->lock);
	if (ensure_token(client, renew, error) == 0)
		token = g_strdup(client->token);
	pthread_mutex_unlock(&client->lock);
	return token;
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
			       const struct keystone_endpoint *wanted, GError **error)
{
	char *endpoint = NULL;

	pthread_mutex_lock(&client->lock);
	if (ensure_token(client, false, error) == 0) {
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
