/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The effective setting of a key.
 */
#include "agent/config/key.h"

#include <string.h>

#include "agent/config/error.h"
#include "agent/config/value.h"

/* `old` is "name" or "section.name". */
static bool is_old_name(const struct config_key *key, const char *old, const char *section,
			const char *name)
{
	const char *dot = strchr(old, '.');
	size_t length = dot ? (size_t)(dot - old) : strlen(key->section);

	return g_str_equal(name, dot ? dot + 1 : old) && strlen(section) == length &&
	       strncmp(section, dot ? old : key->section, length) == 0;
}

int config_key_rank(const struct config_key *key, const char *section, const char *name)
{
	if (g_str_equal(key->name, name) && g_str_equal(key->section, section))
		return 0;
	for (int i = 0; i < (int)G_N_ELEMENTS(key->old_names) && key->old_names[i]; i++) {
		if (is_old_name(key, key->old_names[i], section, name))
			return i + 1;
	}
	return -1;
}

const struct config_key *config_key_find(const struct config_source *source, const char *section,
					 const char *name)
{
	for (size_t i = 0; i < source->key_count; i++) {
		if (config_key_rank(&source->keys[i], section, name) == 0)
			return &source->keys[i];
	}
	return NULL;
}

const struct ini_setting *config_key_setting(const struct config_key *key, const struct ini *ini)
{
	unsigned count;
	const struct ini_setting *settings = ini_settings(ini, &count);
	const struct ini_setting *found = NULL;
	int found_rank = 0;

	for (unsigned i = 0; i < count; i++) {
		int rank = config_key_rank(key, settings[i].section, settings[i].name);
		bool newer = !found || settings[i].file > found->file || rank <= found_rank;

		if (rank < 0 || !newer)
			continue;
		found = &settings[i];
		found_rank = rank;
	}
	return found;
}

bool config_key_is_unset(const struct config_key *key, const char *text)
{
	switch (key->type) {
	case CONFIG_STRING:
	case CONFIG_PATH:
	case CONFIG_HOST:
	case CONFIG_CHOICE:
	case CONFIG_SWITCH:
		return *text == '\0';
	case CONFIG_UINT:
	case CONFIG_INT64:
		return config_value_is_blank(text);
	case CONFIG_BOOL:
		return !key->default_text && *text == '\0';
	default:
		return false;
	}
}

const char *config_key_text(const struct config_key *key, const struct ini_setting *setting)
{
	return setting && !config_key_is_unset(key, setting->text) ? setting->text
								   : key->default_text;
}

int config_key_set_error(const struct config_key *key, const struct ini_setting *setting,
			 const char *problem, GError **error)
{
	if (setting)
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_VALUE, "%s:%u: [%s]%s: %s",
			    setting->path, setting->line, key->section, key->name, problem);
	else
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_VALUE, "[%s]%s: %s", key->section,
			    key->name, problem);
	return -1;
}
