/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Loads the configuration: reads the files, rejects unknown keys, fills struct config according to
 * the table of keys, and applies the rules between keys.
 */
#include "agent/config/config.h"

#include "agent/config/credentials.h"
#include "agent/config/files.h"
#include "agent/config/fill.h"
#include "agent/config/ini.h"
#include "agent/config/messaging.h"
#include "agent/config/rules.h"
#include "agent/config/table.h"

/* Reads the files, and keeps their names. */
static int read_files(struct config_inputs *inputs, const char *const *paths, GError **error)
{
	GPtrArray *files = g_ptr_array_new();
	int rc = config_files_read(inputs->ini, paths, files, error);

	for (guint i = 0; i < files->len; i++)
		g_ptr_array_add(inputs->memory, files->pdata[i]);
	g_ptr_array_add(files, NULL);
	inputs->config.files = (const char *const *)g_ptr_array_free(files, FALSE);
	g_ptr_array_add(inputs->memory, (void *)inputs->config.files);
	return rc;
}

/* nova's sections may contain any key: most of nova's keys are unknown to novasnap. */
static int check_own_section(const struct config_source *source, GError **error)
{
	unsigned count;
	const struct ini_setting *settings = ini_settings(source->ini, &count);

	for (unsigned i = 0; i < count; i++) {
		const struct ini_setting *at = &settings[i];

		if (!g_str_equal(at->section, CONFIG_OWN_SECTION) ||
		    config_key_find(source, at->section, at->name))
			continue;
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_KEY, "%s:%u: [%s] has no key \"%s\"",
			    at->path, at->line, at->section, at->name);
		return -1;
	}
	return 0;
}

struct config *config_load(const char *const *paths, GError **error)
{
	struct config_inputs *inputs = g_new0(struct config_inputs, 1);
	struct config_source source = {config_table, config_table_size, NULL};

	inputs->ini = ini_new();
	inputs->memory = g_ptr_array_new_with_free_func(g_free);
	source.ini = inputs->ini;
	if (read_files(inputs, paths, error) == 0 && check_own_section(&source, error) == 0 &&
	    config_keys_fill(&source, inputs, inputs->memory, error) == 0 &&
	    config_credentials_load(inputs, error) == 0 &&
	    config_messaging_load(inputs, error) == 0 && config_rules_apply(inputs, error) == 0)
		return &inputs->config;
	config_free(&inputs->config);
	return NULL;
}

void config_free(struct config *config)
{
	struct config_inputs *inputs = (struct config_inputs *)(void *)config;

	if (!config)
		return;
	ini_free(inputs->ini);
	g_ptr_array_unref(inputs->memory);
	g_free(inputs);
}
