/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Prints what the table of keys says of each key beside its default: a line for each with section,
 * name and sentences, separated by tabs. The manual page of the configuration is made of it.
 */
#include <stdio.h>

#include "agent/config/table.h"

static const char *const types[] = {
	[CONFIG_BOOL] = "true or false",
	[CONFIG_UINT] = "a number",
	[CONFIG_INT64] = "a number",
	[CONFIG_STRING] = "text",
	[CONFIG_TEXT] = "text",
	[CONFIG_PATH] = "an absolute path",
	[CONFIG_HOST] = "a host name",
	[CONFIG_LIST] = "a list, separated by commas",
	[CONFIG_MULTI] = "text; the key may be given several times",
};

/* The choices stand in the sample's text, too, but not all together. */
static void add_type(GString *text, const struct config_key *key)
{
	g_autofree char *choices = NULL;

	if (key->choices) {
		choices = g_strjoinv("`, `", (char **)key->choices);
		g_string_append_printf(text, "One of `%s`.", choices);
	} else if (key->type == CONFIG_UINT) {
		g_string_append_printf(text, "Value: from %u to %u%s%s.", key->min, key->max,
				       key->unit ? " " : "", key->unit ? key->unit : "");
	} else if (key->pattern) {
		g_string_append_printf(text, "Value: matches `%s`.", key->pattern);
	} else {
		g_string_append_printf(text, "Value: %s.", types[key->type]);
	}
}

int main(void)
{
	for (size_t i = 0; i < config_table_size; i++) {
		const struct config_key *key = &config_table[i];
		g_autoptr(GString) text = g_string_new(NULL);

		add_type(text, key);
		for (size_t j = 0; j < G_N_ELEMENTS(key->old_names) && key->old_names[j]; j++)
			g_string_append_printf(text, " Old name: `%s`.", key->old_names[j]);
		if (key->secret)
			g_string_append(text, " It is never printed.");
		if (key->mutable)
			g_string_append(text, " SIGHUP changes it.");
		printf("%s\t%s\t%s\n", key->section, key->name, text->str);
	}
	return 0;
}
