/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fills a struct according to a table of keys.
 */
#include "agent/config/fill.h"

#include "agent/config/substitution.h"
#include "agent/config/value.h"

/* The key being loaded. */
struct key_loader {
	const struct config_source *source;
	const struct config_key *key;
	const struct ini_setting *setting; /* NULL: use the default */
	void *target;			   /* where the value is stored */
	GPtrArray *memory;
};

static int set_key_error(const struct key_loader *loader, const char *problem, GError **error)
{
	return config_key_set_error(loader->key, loader->setting, problem, error);
}

/* Stores a list. `memory` already owns the items. */
static void store_list(const struct key_loader *loader, char **items)
{
	for (char **item = items; *item; item++)
		g_ptr_array_add(loader->memory, *item);
	g_ptr_array_add(loader->memory, items);
	*(const char *const **)loader->target = (const char *const *)items;
}

/* In each file, the settings with the oldest name come first, as in _Namespace._get_file_value. */
static int load_multi(const struct key_loader *loader, GError **error)
{
	g_autoptr(GPtrArray) items = g_ptr_array_new_with_free_func(g_free);
	const struct config_key *key = loader->key;
	unsigned count;
	const struct ini_setting *settings = ini_settings(loader->source->ini, &count);
	unsigned files = count > 0 ? settings[count - 1].file + 1 : 0;
	unsigned ranks = G_N_ELEMENTS(key->old_names) + 1;

	for (unsigned pass = 0; pass < files * ranks; pass++) {
		int rank = (int)(ranks - 1 - pass % ranks);

		for (unsigned i = 0; i < count; i++) {
			const struct ini_setting *at = &settings[i];
			char *item;

			if (at->file != pass / ranks ||
			    config_key_rank(key, at->section, at->name) != rank)
				continue;
			item = config_substitute(loader->source, key, at, at->text, error);
			if (!item)
				return -1;
			g_ptr_array_add(items, item);
		}
	}
	g_ptr_array_add(items, NULL);
	store_list(loader, (char **)g_ptr_array_steal(items, NULL));
	return 0;
}

/* The index of the choice; -1 with an error. */
static int find_choice(const struct key_loader *loader, const char *text, GError **error)
{
	const char *const *choices = loader->key->choices;
	g_autofree char *all = g_strjoinv(", ", (char **)choices);
	g_autofree char *problem = NULL;

	for (int i = 0; choices[i]; i++) {
		if (g_str_equal(choices[i], text))
			return i;
	}
	problem = g_strdup_printf("is \"%s\", must be one of: %s", text, all);
	return set_key_error(loader, problem, error);
}

static int check_pattern(const struct key_loader *loader, const char *text, GError **error)
{
	const char *pattern = loader->key->pattern;
	g_autofree char *problem = NULL;

	if (!pattern || g_regex_match_simple(pattern, text, 0, 0))
		return 0;
	problem = g_strdup_printf("is \"%s\", must match %s", text, pattern);
	return set_key_error(loader, problem, error);
}

static int store_uint(const struct key_loader *loader, const char *text, GError **error)
{
	const struct config_key *key = loader->key;
	g_autofree char *problem = NULL;

	if (config_value_parse_uint(text, key->min, key->max, loader->target))
		return 0;
	problem =
		g_strdup_printf("must be a whole number%s%s from %u to %u", key->unit ? " of " : "",
				key->unit ? key->unit : "", key->min, key->max);
	return set_key_error(loader, problem, error);
}

/* Stores a value that is set, after substitution. `memory` owns the text. */
static int store_value(const struct key_loader *loader, char *text, GError **error)
{
	int choice;

	switch (loader->key->type) {
	case CONFIG_BOOL:
		if (!config_value_parse_bool(text, loader->target))
			return set_key_error(loader, "must be true or false", error);
		break;
	case CONFIG_UINT:
		return store_uint(loader, text, error);
	case CONFIG_INT64:
		if (!config_value_parse_int64(text, loader->target))
			return set_key_error(loader, "must be a whole number", error);
		break;
	case CONFIG_LIST:
	case CONFIG_MULTI:
		store_list(loader, config_value_parse_list(text));
		break;
	case CONFIG_CHOICE:
	case CONFIG_SWITCH:
		choice = find_choice(loader, text, error);
		if (choice < 0)
			return -1;
		if (loader->key->type == CONFIG_SWITCH)
			*(bool *)loader->target = choice == 1;
		else
			*(const char **)loader->target = loader->key->choices[choice];
		break;
	case CONFIG_PATH:
		if (!g_path_is_absolute(text))
			return set_key_error(loader, "must be an absolute path", error);
		*(const char **)loader->target = text;
		break;
	case CONFIG_HOST:
		config_value_trim_host(text);
		*(const char **)loader->target = text;
		break;
	case CONFIG_STRING:
		if (check_pattern(loader, text, error) < 0)
			return -1;
		*(const char **)loader->target = text;
		break;
	case CONFIG_TEXT:
		*(const char **)loader->target = text;
		break;
	}
	return 0;
}

static int store_copy(const struct key_loader *loader, const char *text, GError **error)
{
	char *copy = g_strdup(text);

	g_ptr_array_add(loader->memory, copy);
	return store_value(loader, copy, error);
}

static int load_key(const struct key_loader *loader, GError **error)
{
	const struct config_key *key = loader->key;
	const char *text = config_key_text(key, loader->setting);
	char *value;

	if (key->type == CONFIG_MULTI)
		return load_multi(loader, error);
	if (!text)
		return key->type == CONFIG_LIST ? store_copy(loader, "", error) : 0;
	value = config_substitute(loader->source, key, loader->setting, text, error);
	if (!value)
		return -1;
	g_ptr_array_add(loader->memory, value);
	if (!config_key_is_unset(key, value))
		return store_value(loader, value, error);
	/* All its references are empty. */
	if (!key->default_text)
		return 0;
	return key->type == CONFIG_UINT || key->type == CONFIG_INT64
		       ? store_copy(loader, key->default_text, error)
		       : set_key_error(loader, "is empty after its references were replaced",
				       error);
}

int config_keys_fill(const struct config_source *source, void *target, GPtrArray *memory,
		     GError **error)
{
	for (size_t i = 0; i < source->key_count; i++) {
		const struct config_key *key = &source->keys[i];
		const struct key_loader loader = {source, key, config_key_setting(key, source->ini),
						  (char *)target + key->offset, memory};

		if (load_key(&loader, error) < 0)
			return -1;
	}
	return 0;
}

int config_key_store(const struct config_key *key, const char *text, void *target,
		     GPtrArray *memory, GError **error)
{
	const struct key_loader loader = {
		.key = key, .target = (char *)target + key->offset, .memory = memory};
	return store_copy(&loader, text, error);
}
