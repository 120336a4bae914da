/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The credentials for Keystone.
 */
#include "agent/config/credentials.h"

#include <string.h>

#include "agent/config/fill.h"

/* keystoneauth1's types. `generic` ones have default_domain_*, and old names for the project. */
static const struct credential_type {
	const char *name;
	enum keystone_method method;
	bool generic;
} types[] = {
	{"none", KEYSTONE_NONE, false},
	{"password", KEYSTONE_PASSWORD, true},
	{"v3password", KEYSTONE_PASSWORD, false},
	{"token", KEYSTONE_TOKEN, true},
	{"v3token", KEYSTONE_TOKEN, false},
	{"v3applicationcredential", KEYSTONE_APPLICATION_CREDENTIAL, false},
};

/* A credential while it is loaded. */
struct credential {
	struct config_inputs *inputs;
	const char *section; /* that of the key auth_section */
	struct keystone_config *user;
	struct config_credential *more;
	struct config_source source; /* with the keys of the credential's own section */
};

/* Whether auth_section moves this key: the options of keystoneauth1's session and of nova stay
 * where they are. */
static bool is_moved(const struct config_key *key, const char *section)
{
	static const char *const stay[] = {"auth_section",
					   "cafile",
					   "certfile",
					   "keyfile",
					   "insecure",
					   "send_service_user_token",
					   NULL};

	return g_str_equal(key->section, section) && !g_strv_contains(stay, key->name);
}

/* The error is at the line of the key, if it is set. */
static int set_error(const struct credential *credential, const char *name, const char *problem,
		     GError **error)
{
	const struct config_key *key =
		config_key_find(&credential->source, credential->user->section, name);

	return config_key_set_error(key, config_key_setting(key, credential->source.ini), problem,
				    error);
}

/* A section's name as it is in struct ini_setting. */
static char *normalize_section(const char *name)
{
	return g_str_equal(name, "DEFAULT") ? g_strdup(name) : g_ascii_strdown(name, -1);
}

/* Moves the credential's keys to the section that auth_section names. Returns whether it did. */
static bool follow_auth_section(struct credential *credential, struct config_key *keys)
{
	struct config_inputs *inputs = credential->inputs;
	char *section;

	credential->user->section = credential->section;
	if (!credential->more->auth_section)
		return false;
	section = normalize_section(credential->more->auth_section);
	g_ptr_array_add(inputs->memory, section);
	credential->user->section = section;
	for (size_t i = 0; i < config_table_size; i++) {
		if (!is_moved(&config_table[i], credential->section))
			continue;
		keys[i].section = section;
		*(const char **)(void *)((char *)inputs + keys[i].offset) = NULL;
	}
	return true;
}

static const struct credential_type *find_type(const char *name)
{
	for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
		if (g_str_equal(types[i].name, name))
			return &types[i];
	}
	return NULL;
}

static int set_type_error(const struct credential *credential, GError **error)
{
	g_autoptr(GString) known = g_string_new(NULL);
	g_autofree char *problem = NULL;

	for (size_t i = 0; i < G_N_ELEMENTS(types); i++)
		g_string_append_printf(known, "%s%s", i > 0 ? ", " : "", types[i].name);
	problem = g_strdup_printf("is \"%s\", which novasnap does not support; set one of %s in a "
				  "file that is read later",
				  credential->more->auth_type, known->str);
	return set_error(credential, "auth_type", problem, error);
}

/* The domain options that only the generic types have. */
static void apply_default_domain(const struct credential *credential)
{
	struct keystone_config *user = credential->user;
	const struct config_credential *more = credential->more;

	user->user_domain_id =
		user->user_domain_id ? user->user_domain_id : more->default_domain_id;
	user->user_domain_name =
		user->user_domain_name ? user->user_domain_name : more->default_domain_name;
	user->project_domain_id =
		user->project_domain_id ? user->project_domain_id : more->default_domain_id;
	user->project_domain_name =
		user->project_domain_name ? user->project_domain_name : more->default_domain_name;
}

/* The types of Keystone's v3 API have no old names for these keys. */
static void ignore_old_name(const struct credential *credential, const char *name,
			    const char **value)
{
	const struct config_key *key =
		config_key_find(&credential->source, credential->user->section, name);
	const struct ini_setting *setting = config_key_setting(key, credential->source.ini);

	if (setting && !g_str_equal(setting->name, name))
		*value = NULL;
}

/* keystoneauth1's v3 types want a domain for a name even if an ID makes the name superfluous. */
static bool lacks_domain(const char *name, const char *id, const char *domain_id,
			 const char *domain_name, bool generic)
{
	return name && !domain_id && !domain_name && (!id || !generic);
}

static int check_user_domain(const struct credential *credential,
			     const struct credential_type *type, GError **error)
{
	const struct keystone_config *user = credential->user;

	if (lacks_domain(user->username, user->user_id, user->user_domain_id,
			 user->user_domain_name, type->generic))
		return set_error(credential, "username", "needs user_domain_name or user_domain_id",
				 error);
	return 0;
}

static int check_user(const struct credential *credential, GError **error)
{
	const struct keystone_config *user = credential->user;

	if (!user->username && !user->user_id)
		return set_error(credential, "username", "must be set, or user_id", error);
	return 0;
}

static int check_secret(const struct credential *credential, const struct credential_type *type,
			GError **error)
{
	const struct keystone_config *user = credential->user;

	if (type->method != KEYSTONE_TOKEN && check_user_domain(credential, type, error) < 0)
		return -1;
	switch (user->method) {
	case KEYSTONE_PASSWORD:
		return check_user(credential, error);
	case KEYSTONE_TOKEN:
		if (!user->token)
			return set_error(credential, "token", "must be set", error);
		return 0;
	case KEYSTONE_APPLICATION_CREDENTIAL:
		if (!user->application_credential_secret)
			return set_error(credential, "application_credential_secret", "must be set",
					 error);
		if (user->application_credential_id)
			return 0;
		if (!user->application_credential_name)
			return set_error(credential, "application_credential_id",
					 "must be set, or application_credential_name and its user",
					 error);
		return check_user(credential, error);
	case KEYSTONE_NONE:
	default:
		return 0;
	}
}

static int check_scope(const struct credential *credential, const struct credential_type *type,
		       GError **error)
{
	const struct keystone_config *user = credential->user;
	unsigned scopes = 0;

	scopes += user->domain_id || user->domain_name;
	scopes += user->project_id || user->project_name;
	scopes += user->trust_id != NULL;
	if (scopes > 1)
		return set_error(credential, "auth_type",
				 "has several scopes: set one of project_*, domain_* and trust_id",
				 error);
	if (lacks_domain(user->project_name, user->project_id, user->project_domain_id,
			 user->project_domain_name, type->generic))
		return set_error(credential, "project_name",
				 "needs project_domain_name or project_domain_id", error);
	return 0;
}

static int check_credential(const struct credential *credential, const struct credential_type *type,
			    GError **error)
{
	const char *url = credential->user->auth_url;

	if (!url)
		return set_error(credential, "auth_url", "must be set", error);
	if (g_str_has_suffix(url, "/v2.0") || g_str_has_suffix(url, "/v2.0/"))
		return set_error(credential, "auth_url",
				 "is of Keystone's API v2.0; novasnap needs v3", error);
	if (check_secret(credential, type, error) < 0)
		return -1;
	return check_scope(credential, type, error);
}

static int check_type(struct credential *credential, GError **error)
{
	struct keystone_config *user = credential->user;
	const struct credential_type *type;

	if (!credential->more->auth_type) {
		if (!user->auth_url || (!user->username && !user->user_id))
			return 0;
		credential->more->auth_type = "password";
	}
	type = find_type(credential->more->auth_type);
	if (!type)
		return set_type_error(credential, error);
	user->method = type->method;
	if (type->method == KEYSTONE_NONE)
		return 0;
	if (type->generic) {
		apply_default_domain(credential);
	} else {
		ignore_old_name(credential, "project_name", &user->project_name);
		ignore_old_name(credential, "project_id", &user->project_id);
	}
	return check_credential(credential, type, error);
}

int config_credentials_load(struct config_inputs *inputs, GError **error)
{
	struct image_config *image = &inputs->config.image;
	struct config_key *keys = g_memdup2(config_table, config_table_size * sizeof(*keys));
	const struct config_source source = {keys, config_table_size, inputs->ini};
	struct credential own = {inputs, "keystone_authtoken", &image->auth, &inputs->auth, source};
	struct credential service = {inputs, "service_user", &image->service, &inputs->service,
				     source};
	bool own_moved = follow_auth_section(&own, keys);
	bool service_moved = follow_auth_section(&service, keys);

	g_ptr_array_add(inputs->memory, keys);
	if ((own_moved || service_moved) &&
	    config_keys_fill(&source, inputs, inputs->memory, error) < 0)
		return -1;
	if (check_type(&own, error) < 0)
		return -1;
	return image->send_service_user_token ? check_type(&service, error) : 0;
}
