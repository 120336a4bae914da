/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The configuration's reader as a program, for a test that compares it with oslo.config. Each line
 * of standard input is a JSON object: `files` are paths, `keys` a table of keys. Each line of
 * standard output is the answer: `values` of the keys, in their order, or `error`.
 *
 * With --table it prints the table of novasnap's own keys, one JSON object a line.
 */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/config/fill.h"
#include "agent/config/table.h"

#define CHOICES_MAX 8

/* In the order of enum config_type. */
static const char *const type_names[] = {"bool", "uint",  "string", "text",   "path",
					 "list", "multi", "choice", "switch", NULL};

union value {
	bool flag;
	unsigned number;
	const char *text;
	const char *const *items;
};

/* A table that a line of input describes. Its strings belong to the line's JSON. */
struct read_table {
	size_t count;
	struct config_key *keys;
	const char *(*choices)[CHOICES_MAX + 1];
	union value *values;
};

static const char *string_of(const cJSON *object, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

static unsigned number_of(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsNumber(item) ? (unsigned)item->valuedouble : 0;
}

static void copy_strings(const cJSON *array, const char **strings, int most)
{
	g_assert_cmpint(cJSON_GetArraySize(array), <=, most);
	for (int i = 0; i < cJSON_GetArraySize(array); i++)
		strings[i] = cJSON_GetStringValue(cJSON_GetArrayItem(array, i));
}

static enum config_type type_of(const char *name)
{
	for (int i = 0; type_names[i]; i++) {
		if (g_str_equal(type_names[i], name))
			return (enum config_type)i;
	}
	g_error("there is no type \"%s\"", name);
}

static void table_read(struct read_table *table, const cJSON *keys)
{
	table->count = (size_t)cJSON_GetArraySize(keys);
	table->keys = g_new0(struct config_key, table->count);
	table->choices = g_malloc0(table->count * sizeof(*table->choices));
	table->values = g_new0(union value, table->count);
	for (size_t i = 0; i < table->count; i++) {
		const cJSON *from = cJSON_GetArrayItem(keys, (int)i);
		struct config_key *key = &table->keys[i];

		key->section = string_of(from, "section");
		key->name = string_of(from, "name");
		key->type = type_of(string_of(from, "type"));
		key->default_text = string_of(from, "default");
		key->offset = i * sizeof(union value);
		key->min = number_of(from, "min");
		key->max = number_of(from, "max");
		key->choices = table->choices[i];
		copy_strings(cJSON_GetObjectItemCaseSensitive(from, "choices"), table->choices[i],
			     CHOICES_MAX);
		copy_strings(cJSON_GetObjectItemCaseSensitive(from, "old"), key->old_names,
			     G_N_ELEMENTS(key->old_names));
	}
}

static void table_free(struct read_table *table)
{
	g_free(table->keys);
	g_free(table->choices);
	g_free(table->values);
}

static cJSON *strings_to_json(const char *const *strings)
{
	cJSON *array = cJSON_CreateArray();

	for (; strings && *strings; strings++)
		cJSON_AddItemToArray(array, cJSON_CreateString(*strings));
	return array;
}

static cJSON *text_to_json(const char *text)
{
	return text ? cJSON_CreateString(text) : cJSON_CreateNull();
}

static cJSON *value_to_json(const struct config_key *key, const union value *value)
{
	switch (key->type) {
	case CONFIG_BOOL:
	case CONFIG_SWITCH:
		return cJSON_CreateBool(value->flag);
	case CONFIG_UINT:
		return cJSON_CreateNumber(value->number);
	case CONFIG_LIST:
	case CONFIG_MULTI:
		return strings_to_json(value->items);
	default:
		return text_to_json(value->text);
	}
}

static int load(const cJSON *request, struct read_table *table, struct ini *ini, GPtrArray *memory,
		GError **error)
{
	struct config_source source = {table->keys, table->count, ini};
	const cJSON *file;

	cJSON_ArrayForEach (file, cJSON_GetObjectItemCaseSensitive(request, "files")) {
		if (ini_read(ini, cJSON_GetStringValue(file), error) < 0)
			return -1;
	}
	return config_keys_fill(&source, table->values, memory, error);
}

static cJSON *answer(const cJSON *request)
{
	cJSON *result = cJSON_CreateObject();
	struct ini *ini = ini_new();
	g_autoptr(GPtrArray) memory = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GError) error = NULL;
	struct read_table table;

	table_read(&table, cJSON_GetObjectItemCaseSensitive(request, "keys"));
	if (load(request, &table, ini, memory, &error) == 0) {
		cJSON *values = cJSON_AddArrayToObject(result, "values");

		for (size_t i = 0; i < table.count; i++)
			cJSON_AddItemToArray(values,
					     value_to_json(&table.keys[i], &table.values[i]));
	} else {
		cJSON_AddStringToObject(result, "error", error->message);
	}
	table_free(&table);
	ini_free(ini);
	return result;
}

static void print_json(cJSON *value)
{
	char *text = cJSON_PrintUnformatted(value);

	puts(text);
	(void)fflush(stdout);
	cJSON_free(text);
	cJSON_Delete(value);
}

static void print_table(void)
{
	for (size_t i = 0; i < config_table_size; i++) {
		const struct config_key *key = &config_table[i];
		const char *old[G_N_ELEMENTS(key->old_names) + 1] = {NULL};
		cJSON *object = cJSON_CreateObject();

		memcpy(old, key->old_names, sizeof(key->old_names));
		cJSON_AddStringToObject(object, "section", key->section);
		cJSON_AddStringToObject(object, "name", key->name);
		cJSON_AddStringToObject(object, "type", type_names[key->type]);
		cJSON_AddItemToObject(object, "default", text_to_json(key->default_text));
		cJSON_AddItemToObject(object, "choices", strings_to_json(key->choices));
		cJSON_AddItemToObject(object, "old", strings_to_json(old));
		print_json(object);
	}
}

int main(int argc, char **argv)
{
	char *line = NULL;
	size_t capacity = 0;
	ssize_t length;

	if (argc == 2 && g_str_equal(argv[1], "--table")) {
		print_table();
		return EXIT_SUCCESS;
	}
	while ((length = getline(&line, &capacity, stdin)) > 0) {
		cJSON *request = cJSON_ParseWithLength(line, (size_t)length);

		g_assert_nonnull(request);
		print_json(answer(request));
		cJSON_Delete(request);
	}
	free(line);
	return EXIT_SUCCESS;
}
