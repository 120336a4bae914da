/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A token of our own from Keystone v3 by password, and its catalogue.
 */
#include <pthread.h>
#include <string.h>

#include "image/internal.h"

#define MARGIN_S 60

struct keystone {
	const struct keystone_config *user;
	const struct image_config *config;

	pthread_mutex_t lock; /* held while a token is fetched: one fetch serves all who wait */
	char *token;	      /* guarded by the lock, as is all below */
	gint64 expires_at;    /* unix seconds */
	cJSON *catalog;
};

struct keystone *keystone_new(const struct keystone_config *user, const struct image_config *config)
{
	struct keystone *keystone;

	if (!user->auth_url || !user->username)
		return NULL;
	keystone = g_new0(struct keystone, 1);
	keystone->user = user;
	keystone->config = config;
	pthread_mutex_init(&keystone->lock, NULL);
	return keystone;
}

void keystone_free(struct keystone *keystone)
{
	if (!keystone)
		return;
	g_free(keystone->token);
	cJSON_Delete(keystone->catalog);
	pthread_mutex_destroy(&keystone->lock);
	g_free(keystone);
}

/* {"id": ...} or {"name": ..., "domain": {...}} */
static void add_named(cJSON *to, const char *key, const char *id, const char *name,
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

static char *auth_body(const struct keystone_config *user)
{
	cJSON *root = cJSON_CreateObject();
	cJSON *auth = cJSON_AddObjectToObject(root, "auth");
	cJSON *identity = cJSON_AddObjectToObject(auth, "identity");
	cJSON *methods = cJSON_AddArrayToObject(identity, "methods");
	cJSON *password = cJSON_AddObjectToObject(identity, "password");
	cJSON *scope;
	char *body;

	cJSON_AddItemToArray(methods, cJSON_CreateString("password"));
	add_named(password, "user", NULL, user->username, user->user_domain_id,
		  user->user_domain_name);
	cJSON_AddStringToObject(cJSON_GetObjectItemCaseSensitive(password, "user"), "password",
				user->password ? user->password : "");
	if (user->project_id || user->project_name) {
		scope = cJSON_AddObjectToObject(auth, "scope");
		add_named(scope, "project", user->project_id, user->project_name,
			  user->project_domain_id, user->project_domain_name);
	}
	body = cJSON_PrintUnformatted(root);
	cJSON_Delete(root);
	return body;
}

static char *tokens_url(const char *auth_url)
{
	g_autofree char *base = g_strdup(auth_url);
	size_t length = strlen(base);

	while (length > 0 && base[length - 1] == '/')
		base[--length] = '\0';
	return g_strconcat(base, g_str_has_suffix(base, "/v3") ? "" : "/v3", "/auth/tokens", NULL);
}

static int take_token(struct keystone *keystone, struct http_reply *reply, GError **error)
{
	cJSON *document = http_reply_document(reply);
	cJSON *token = cJSON_GetObjectItemCaseSensitive(document, "token");
	const cJSON *expires = cJSON_GetObjectItemCaseSensitive(token, "expires_at");
	g_autoptr(GDateTime) when = NULL;

	if (cJSON_IsString(expires))
		when = g_date_time_new_from_iso8601(expires->valuestring, NULL);
	if (!when || !reply->subject_token) {
		cJSON_Delete(document);
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_AUTH,
			    "Keystone at %s gave no token that can be used",
			    keystone->user->auth_url);
		return -1;
	}
	g_free(keystone->token);
	keystone->token = g_steal_pointer(&reply->subject_token);
	keystone->expires_at = g_date_time_to_unix(when);
	cJSON_Delete(keystone->catalog);
	keystone->catalog = cJSON_DetachItemFromObjectCaseSensitive(token, "catalog");
	cJSON_Delete(document);
	return 0;
}

/* With the lock held. */
static int fetch(struct keystone *keystone, GError **error)
{
	const struct keystone_config *user = keystone->user;
	struct http_config http = {
		.cafile = user->cafile,
		.certfile = user->certfile,
		.keyfile = user->keyfile,
		.insecure = user->insecure,
		.connect_timeout_s = keystone->config->connect_timeout_s,
		.request_timeout_s = keystone->config->request_timeout_s,
	};
	g_autofree char *url = tokens_url(user->auth_url);
	g_autoptr(GPtrArray) headers = g_ptr_array_new();
	struct http_request request = {.method = "POST", .url = url, .headers = headers};
	struct http_reply reply = {0};
	char *body = auth_body(user);
	int rc;

	g_ptr_array_add(headers, (char *)"Content-Type: application/json");
	request.body = body;
	request.secret = user->password;
	rc = http_perform(&http, &request, &reply, error);
	cJSON_free(body);
	if (rc == 0 && reply.status != 201) {
		g_autofree char *what =
			g_strdup_printf("a token for %s from Keystone at %s", user->username, url);

		http_reply_error(&reply, what, error);
		rc = -1;
	}
	if (rc == 0)
		rc = take_token(keystone, &reply, error);
	http_reply_clear(&reply);
	return rc;
}

static int ensure(struct keystone *keystone, bool renew, GError **error)
{
	gint64 now = g_get_real_time() / G_USEC_PER_SEC;

	if (keystone->token && !renew && now < keystone->expires_at - MARGIN_S)
		return 0;
	return fetch(keystone, error);
}

int image_check_keystone(const struct keystone_config *user, const struct image_config *config,
			 GError **error)
{
	struct keystone *keystone = keystone_new(user, config);
	g_autofree char *token = NULL;

	if (keystone)
		token = keystone_token(keystone, false, error);
	else
		g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_CONFIG,
				    "auth_url and username are not both set");
	keystone_free(keystone);
	return token ? 0 : -1;
}

char *keystone_token(struct keystone *keystone, bool renew, GError **error)
{
	char *token = NULL;

	pthread_mutex_lock(&keystone->lock);
	if (ensure(keystone, renew, error) == 0)
		token = g_strdup(keystone->token);
	pthread_mutex_unlock(&keystone->lock);
	return token;
}

static const char *endpoint_of(const cJSON *service, const char *interface, const char *region)
{
	const cJSON *endpoint;

	cJSON_ArrayForEach (endpoint, cJSON_GetObjectItemCaseSensitive(service, "endpoints")) {
		const cJSON *kind = cJSON_GetObjectItemCaseSensitive(endpoint, "interface");
		const cJSON *place = cJSON_GetObjectItemCaseSensitive(endpoint, "region_id");
		const cJSON *url = cJSON_GetObjectItemCaseSensitive(endpoint, "url");

		if (cJSON_IsString(kind) && cJSON_IsString(url) &&
		    g_str_equal(kind->valuestring, interface) &&
		    (!region || (cJSON_IsString(place) && g_str_equal(place->valuestring, region))))
			return url->valuestring;
	}
	return NULL;
}

static const char *find_endpoint(const struct keystone *keystone,
				 const struct keystone_endpoint *wanted)
{
	const cJSON *service;

	cJSON_ArrayForEach (service, keystone->catalog) {
		const cJSON *type = cJSON_GetObjectItemCaseSensitive(service, "type");
		const char *url = NULL;

		if (cJSON_IsString(type) && g_str_equal(type->valuestring, wanted->type))
			url = endpoint_of(service, wanted->interface, wanted->region);
		if (url)
			return url;
	}
	return NULL;
}

char *keystone_endpoint(struct keystone *keystone, const struct keystone_endpoint *wanted,
			GError **error)
{
	char *endpoint = NULL;

	pthread_mutex_lock(&keystone->lock);
	if (ensure(keystone, false, error) == 0) {
		endpoint = g_strdup(find_endpoint(keystone, wanted));
		if (!endpoint)
			g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_CONFIG,
				    "Keystone's catalogue at %s has no %s endpoint of a service of "
				    "type %s in region %s",
				    keystone->user->auth_url, wanted->interface, wanted->type,
				    wanted->region ? wanted->region : "(any)");
	}
	pthread_mutex_unlock(&keystone->lock);
	return endpoint;
}
