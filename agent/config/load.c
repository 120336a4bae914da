/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Loads the configuration: reads the files, rejects unknown keys, fills struct config according to
 * the table of keys, and applies the rules between keys.
 */
#include "agent/config/config.h"

#include <unistd.h>

#include "agent/config/fill.h"
#include "agent/config/ini.h"
#include "agent/config/rules.h"
#include "agent/config/table.h"

static const char *const usual_files[] = {"/etc/nova/nova.conf", "/etc/novasnap/novasnap.conf"};

static int read_usual_files(struct ini *ini, GError **error)
{
	unsigned found = 0;

	for (size_t i = 0; i < G_N_ELEMENTS(usual_files); i++) {
		if (access(usual_files[i], F_OK) != 0)
			continue;
		found++;
		if (ini_read(ini, usual_files[i], error) < 0)
			return -1;
	}
	if (found > 0)
		return 0;
	g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_FILE,
		    "no configuration: neither %s nor %s exists; name a file with --config-file",
		    usual_files[0], usual_files[1]);
	return -1;
}

static int read_files(struct ini *ini, const char *const *files, GError **error)
{
	if (!files || !*files)
		return read_usual_files(ini, error);
	for (; *files; files++) {
		if (ini_read(ini, *files, error) < 0)
			return -1;
	}
	return 0;
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

struct config *config_load(const char *const *files, GError **error)
{
	struct config_inputs *inputs = g_new0(struct config_inputs, 1);
	struct config_source source = {config_table, config_table_size, NULL};

	inputs->ini = ini_new();
	inputs->memory = g_ptr_array_new_with_free_func(g_free);
	source.ini = inputs->ini;
	if (read_files(inputs->ini, files, error) == 0 && check_own_section(&source, error) == 0 &&
	    config_keys_fill(&source, inputs, inputs->memory, error) == 0 &&
	    config_rules_apply(inputs, error) == 0)
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
