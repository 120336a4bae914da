/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The configuration's reader as a program, for a test that compares it with oslo.config. Each line
 * of standard input is a JSON object: `files` are paths, `keys` a table of keys. Each line of
 * standard output is the answer: `values` of the keys, in their order, or `error`. Without `keys`,
 * the table is novasnap's own. With `load` instead of `files`, the paths are given to config_load,
 * and the answer is what it makes of them: the credentials as the requests for a token, and the
 * brokers.
 *
 * With --table it prints the table of novasnap's own keys, one JSON object a line, and with
 * --ignored-options that of oslo.messaging's options that are not implemented. With --files and
 * options of novasnapd it prints the files that these lead to.
 */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/config/files.h"
#include "agent/config/fill.h"
#include "agent/config/messaging.h"
#include "agent/config/table.h"
#include "image/openstack/keystone-request.h"
#include "rpc/amqp/transport-url.h"

#define CHOICES_MAX 8

/* In the order of enum config_type. */
static const char *const type_names[] = {"bool", "uint", "int64", "string", "text",   "path",
					 "host", "list", "multi", "choice", "switch", NULL};

union value {
	bool flag;
	unsigned number;
	int64_t integer;
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

static cJSON *value_to_json(const struct config_key *key, const void *target)
{
	const void *value = (const char *)target + key->offset;

	switch (key->type) {
	case CONFIG_BOOL:
	case CONFIG_SWITCH:
		return cJSON_CreateBool(*(const bool *)value);
	case CONFIG_INT64:
		return cJSON_CreateNumber((double)*(const int64_t *)value);
	case CONFIG_UINT:
		return cJSON_CreateNumber(*(const unsigned *)value);
	case CONFIG_LIST:
	case CONFIG_MULTI:
		return strings_to_json(*(const char *const *const *)value);
	default:
		return text_to_json(*(const char *const *)value);
	}
}

static int read_keys(const cJSON *request, const struct config_source *source, struct ini *ini,
		     void *target, GPtrArray *memory, GError **error)
{
	const cJSON *file;

	cJSON_ArrayForEach (file, cJSON_GetObjectItemCaseSensitive(request, "files")) {
		if (ini_read(ini, cJSON_GetStringValue(file), error) < 0)
			return -1;
	}
	return config_keys_fill(source, target, memory, error);
}

static cJSON *answer_keys(const cJSON *request, const struct config_key *keys, size_t count,
			  void *target)
{
	cJSON *result = cJSON_CreateObject();
	struct ini *ini = ini_new();
	const struct config_source source = {keys, count, ini};
	g_autoptr(GPtrArray) memory = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GError) error = NULL;

	if (read_keys(request, &source, ini, target, memory, &error) == 0) {
		cJSON *values = cJSON_AddArrayToObject(result, "values");

		for (size_t i = 0; i < count; i++)
			cJSON_AddItemToArray(values, value_to_json(&keys[i], target));
	} else {
		cJSON_AddStringToObject(result, "error", error->message);
	}
	ini_free(ini);
	return result;
}

static cJSON *credential_to_json(const struct keystone_config *user)
{
	cJSON *object = cJSON_CreateObject();
	g_autofree char *url = NULL;
	char *body;

	if (user->method == KEYSTONE_NONE) {
		cJSON_Delete(object);
		return cJSON_CreateNull();
	}
	url = keystone_request_url(user);
	body = keystone_request_body(user);
	cJSON_AddStringToObject(object, "url", url);
	cJSON_AddItemToObject(object, "body", cJSON_Parse(body));
	cJSON_free(body);
	return object;
}

static cJSON *broker_to_json(const struct broker_address *address, const char *vhost)
{
	cJSON *broker = cJSON_CreateArray();

	cJSON_AddItemToArray(broker, cJSON_CreateString(address->host));
	cJSON_AddItemToArray(broker, cJSON_CreateNumber(address->port));
	cJSON_AddItemToArray(broker, cJSON_CreateString(address->user));
	cJSON_AddItemToArray(broker, cJSON_CreateString(address->password));
	cJSON_AddItemToArray(broker, cJSON_CreateString(vhost));
	return broker;
}

/* The members that the section [oslo_messaging_rabbit] and the URL's query set. */
static cJSON *rpc_to_json(const struct rpc_config *config)
{
	struct transport_url *url = transport_url_parse(config->transport_url, NULL);
	cJSON *object = cJSON_CreateObject();
	cJSON *brokers = cJSON_AddArrayToObject(object, "brokers");

	g_assert_nonnull(url);
	for (guint i = 0; i < url->brokers->len; i++)
		cJSON_AddItemToArray(brokers, broker_to_json(url->brokers->pdata[i], url->vhost));
	transport_url_free(url);
	cJSON_AddBoolToObject(object, "ssl", config->ssl);
	cJSON_AddItemToObject(object, "ssl_ca_file", text_to_json(config->ssl_ca_file));
	cJSON_AddItemToObject(object, "ssl_cert_file", text_to_json(config->ssl_cert_file));
	cJSON_AddItemToObject(object, "ssl_key_file", text_to_json(config->ssl_key_file));
	cJSON_AddBoolToObject(object, "durable", config->durable);
	cJSON_AddBoolToObject(object, "rabbit_quorum_queue", config->quorum);
	cJSON_AddBoolToObject(object, "amqp_auto_delete", config->auto_delete);
	cJSON_AddNumberToObject(object, "heartbeat_timeout_threshold", config->heartbeat_s);
	cJSON_AddNumberToObject(object, "rabbit_retry_interval", config->retry_interval_s);
	cJSON_AddNumberToObject(object, "rabbit_transient_queues_ttl", config->queue_ttl_s);
	return object;
}

static cJSON *answer_load(const cJSON *paths)
{
	cJSON *result = cJSON_CreateObject();
	g_autoptr(GPtrArray) files = g_ptr_array_new();
	g_autoptr(GError) error = NULL;
	g_autoptr(config_t) config = NULL;
	const cJSON *path;

	cJSON_ArrayForEach (path, paths)
		g_ptr_array_add(files, path->valuestring);
	g_ptr_array_add(files, NULL);
	config = config_load((const char *const *)files->pdata, &error);
	if (!config) {
		cJSON_AddStringToObject(result, "error", error->message);
		return result;
	}
	cJSON_AddItemToObject(result, "keystone_authtoken",
			      credential_to_json(&config->image.auth));
	cJSON_AddItemToObject(result, "service_user", credential_to_json(&config->image.service));
	cJSON_AddItemToObject(result, "rpc", rpc_to_json(&config->rpc));
	cJSON_AddItemToObject(result, "notifications",
			      config->rpc.notifications ? rpc_to_json(config->rpc.notifications)
							: cJSON_CreateNull());
	cJSON_AddBoolToObject(result, "notify", config->notify.enabled);
	cJSON_AddItemToObject(result, "host", text_to_json(config->rpc.host));
	return result;
}

static cJSON *answer(const cJSON *request)
{
	const cJSON *keys = cJSON_GetObjectItemCaseSensitive(request, "keys");
	const cJSON *paths = cJSON_GetObjectItemCaseSensitive(request, "load");
	struct config_inputs inputs = {0};
	struct read_table table;
	cJSON *result;

	if (paths)
		return answer_load(paths);
	if (!keys)
		return answer_keys(request, config_table, config_table_size, &inputs);
	table_read(&table, keys);
	result = answer_keys(request, table.keys, table.count, table.values);
	table_free(&table);
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

static void print_ignored_options(void)
{
	for (size_t i = 0; i < config_ignored_option_count; i++) {
		const struct config_ignored_option *option = &config_ignored_options[i];
		cJSON *object = cJSON_CreateObject();

		cJSON_AddStringToObject(object, "section", option->section);
		cJSON_AddStringToObject(object, "name", option->name);
		cJSON_AddItemToObject(object, "old", text_to_json(option->old_name));
		cJSON_AddStringToObject(object, "type", type_names[option->type]);
		cJSON_AddItemToObject(object, "accepted", strings_to_json(option->accepted));
		cJSON_AddStringToObject(object, "why", option->why);
		print_json(object);
	}
}

/* Prints which files the options lead to. */
static int print_files(int argc, char **argv)
{
	g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GOptionContext) options = g_option_context_new(NULL);
	g_autoptr(GError) error = NULL;
	g_autoptr(config_t) config = NULL;

	config_files_add_options(options, paths);
	if (g_option_context_parse(options, &argc, &argv, &error)) {
		g_ptr_array_add(paths, NULL);
		config = config_load((const char *const *)paths->pdata, &error);
	}
	if (!config) {
		(void)fprintf(stderr, "%s\n", error->message);
		return EXIT_FAILURE;
	}
	print_json(strings_to_json(config->files));
	return EXIT_SUCCESS;
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
	if (argc > 1 && g_str_equal(argv[1], "--files"))
		return print_files(argc - 1, argv + 1);
	if (argc == 2 && g_str_equal(argv[1], "--ignored-options")) {
		print_ignored_options();
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
