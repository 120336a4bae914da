/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The request for a token.
 */
#include "image/openstack/keystone-request.h"

#include <string.h>

#include "image/openstack/http.h"

char *keystone_request_url(const struct keystone_config *user)
{
	g_autofree char *base = g_strdup(user->auth_url);

	http_url_trim(base);
	return g_strconcat(base, g_str_has_suffix(base, "v3") ? "" : "/v3", "/auth/tokens", NULL);
}

/* A user or a project: by its ID, or by its name and its domain. */
struct json_entity {
	const char *id;
	const char *name;
	const char *domain_id;
	const char *domain_name;
};

static void json_add_entity(cJSON *object, const struct json_entity *entity)
{
	cJSON *domain;

	if (entity->id) {
		cJSON_AddStringToObject(object, "id", entity->id);
		return;
	}
	if (!entity->name)
		return;
	cJSON_AddStringToObject(object, "name", entity->name);
	if (!entity->domain_id && !entity->domain_name)
		return;
	domain = cJSON_AddObjectToObject(object, "domain");
	cJSON_AddStringToObject(domain, entity->domain_id ? "id" : "name",
				entity->domain_id ? entity->domain_id : entity->domain_name);
}

static struct json_entity user_entity(const struct keystone_config *user)
{
	return (struct json_entity){user->user_id, user->username, user->user_domain_id,
				    user->user_domain_name};
}

static void add_password(cJSON *identity, const struct keystone_config *user)
{
	cJSON *method = cJSON_AddObjectToObject(identity, "password");
	cJSON *who = cJSON_AddObjectToObject(method, "user");
	const struct json_entity entity = user_entity(user);

	/* As keystoneauth1: Keystone refuses a null. */
	cJSON_AddItemToObject(who, "password",
			      user->password ? cJSON_CreateString(user->password)
					     : cJSON_CreateNull());
	json_add_entity(who, &entity);
}

static void add_application_credential(cJSON *identity, const struct keystone_config *user)
{
	cJSON *method = cJSON_AddObjectToObject(identity, "application_credential");
	const struct json_entity entity = user_entity(user);

	cJSON_AddStringToObject(method, "secret", user->application_credential_secret);
	if (user->application_credential_id) {
		cJSON_AddStringToObject(method, "id", user->application_credential_id);
		return;
	}
	cJSON_AddStringToObject(method, "name", user->application_credential_name);
	json_add_entity(cJSON_AddObjectToObject(method, "user"), &entity);
}

static void add_token(cJSON *identity, const struct keystone_config *user)
{
	cJSON_AddStringToObject(cJSON_AddObjectToObject(identity, "token"), "id", user->token);
}

static const struct {
	const char *name; /* in Keystone's API */
	void (*add)(cJSON *identity, const struct keystone_config *user);
} methods[] = {
	[KEYSTONE_PASSWORD] = {"password", add_password},
	[KEYSTONE_APPLICATION_CREDENTIAL] = {"application_credential", add_application_credential},
	[KEYSTONE_TOKEN] = {"token", add_token},
};

static void add_scope(cJSON *auth, const struct keystone_config *user)
{
	const struct json_entity project = {user->project_id, user->project_name,
					    user->project_domain_id, user->project_domain_name};
	/* keystoneauth1 sends no scope for another value. */
	bool system = user->system_scope && g_str_equal(user->system_scope, "all");
	cJSON *scope;

	if (user->domain_id || user->domain_name) {
		const struct json_entity domain = {user->domain_id, user->domain_name, NULL, NULL};

		scope = cJSON_AddObjectToObject(auth, "scope");
		json_add_entity(cJSON_AddObjectToObject(scope, "domain"), &domain);
	} else if (user->project_id || user->project_name) {
		scope = cJSON_AddObjectToObject(auth, "scope");
		json_add_entity(cJSON_AddObjectToObject(scope, "project"), &project);
	} else if (user->trust_id) {
		scope = cJSON_AddObjectToObject(auth, "scope");
		cJSON_AddStringToObject(cJSON_AddObjectToObject(scope, "OS-TRUST:trust"), "id",
					user->trust_id);
	} else if (system) {
		scope = cJSON_AddObjectToObject(auth, "scope");
		cJSON_AddTrueToObject(cJSON_AddObjectToObject(scope, "system"), "all");
	}
}

char *keystone_request_body(const struct keystone_config *user)
{
	cJSON *root = cJSON_CreateObject();
	cJSON *auth = cJSON_AddObjectToObject(root, "auth");
	cJSON *identity = cJSON_AddObjectToObject(auth, "identity");
	cJSON *names = cJSON_AddArrayToObject(identity, "methods");
	char *body;

	cJSON_AddItemToArray(names, cJSON_CreateString(methods[user->method].name));
	methods[user->method].add(identity, user);
	add_scope(auth, user);
	body = cJSON_PrintUnformatted(root);
	cJSON_Delete(root);
	return body;
}

const char *keystone_request_secret(const struct keystone_config *user)
{
	switch (user->method) {
	case KEYSTONE_PASSWORD:
		return user->password;
	case KEYSTONE_APPLICATION_CREDENTIAL:
		return user->application_credential_secret;
	case KEYSTONE_TOKEN:
		return user->token;
	case KEYSTONE_NONE:
	default:
		return NULL;
	}
}

static const char *first_of(const char *id, const char *name)
{
	return id ? id : name;
}

static void describe_scope(GString *text, const struct keystone_config *user)
{
	const struct {
		const char *what;
		const char *which;
	} scopes[] = {
		{"domain", first_of(user->domain_id, user->domain_name)},
		{"project", first_of(user->project_id, user->project_name)},
		{"trust", user->trust_id},
		{"system", user->system_scope},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(scopes); i++) {
		if (scopes[i].which) {
			g_string_append_printf(text, ", %s %s", scopes[i].what, scopes[i].which);
			return;
		}
	}
}

char *image_keystone_describe(const struct keystone_config *user)
{
	GString *text = g_string_new(NULL);
	const char *who = first_of(user->user_id, user->username);

	switch (user->method) {
	case KEYSTONE_PASSWORD:
		g_string_append_printf(text, "user %s", who);
		break;
	case KEYSTONE_APPLICATION_CREDENTIAL:
		g_string_append_printf(text, "application credential %s",
				       first_of(user->application_credential_id,
						user->application_credential_name));
		if (!user->application_credential_id)
			g_string_append_printf(text, " of user %s", who);
		break;
	case KEYSTONE_TOKEN:
		g_string_append(text, "a token from the configuration");
		break;
	case KEYSTONE_NONE:
	default:
		return g_string_free(text, FALSE);
	}
	describe_scope(text, user);
	return g_string_free(text, FALSE);
}
