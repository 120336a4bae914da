/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Compares two configurations.
 */
#include <string.h>

#include "agent/config/config.h"
#include "agent/config/table.h"

static bool is_same_list(const char *const *one, const char *const *other)
{
	return one && other ? g_strv_equal(one, other) : one == other;
}

static bool is_same_value(const struct config_key *key, const char *one, const char *other)
{
	const void *at = one + key->offset, *other_at = other + key->offset;

	switch (key->type) {
	case CONFIG_BOOL:
	case CONFIG_SWITCH:
		return *(const bool *)at == *(const bool *)other_at;
	case CONFIG_UINT:
		return *(const unsigned *)at == *(const unsigned *)other_at;
	case CONFIG_INT64:
		return *(const int64_t *)at == *(const int64_t *)other_at;
	case CONFIG_LIST:
	case CONFIG_MULTI:
		return is_same_list(*(const char *const *const *)at,
				    *(const char *const *const *)other_at);
	case CONFIG_STRING:
	case CONFIG_TEXT:
	case CONFIG_PATH:
	case CONFIG_CHOICE:
	default:
		return g_strcmp0(*(const char *const *)at, *(const char *const *)other_at) == 0;
	}
}

char *config_list_ignored_changes(const struct config *current, const struct config *changed)
{
	g_autoptr(GString) names = g_string_new(NULL);

	for (size_t i = 0; i < config_table_size; i++) {
		const struct config_key *key = &config_table[i];

		if (key->mutable ||
		    is_same_value(key, (const char *)current, (const char *)changed))
			continue;
		g_string_append_printf(names, "%s[%s]%s", names->len > 0 ? ", " : "", key->section,
				       key->name);
	}
	return names->len > 0 ? g_string_free(g_steal_pointer(&names), FALSE) : NULL;
}
