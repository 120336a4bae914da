/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The payloads of the two notifications about an exception. The legacy one contains the cast's
 * arguments. nova's objects in it have the form of oslo_serialization.jsonutils.to_primitive, which
 * differs from the form in messages between nova's services.
 */
#include "rpc/nova/payload-exception.h"

#include <string.h>

#include "rpc/json.h"
#include "rpc/nova/value.h"

static cJSON *to_primitive(const char *name, const cJSON *item);

/* Appends a text as Python's repr does. */
static void append_repr(GString *to, const char *text)
{
	g_autofree char *valid = g_utf8_make_valid(text, -1);
	char quote = strchr(valid, '\'') && !strchr(valid, '"') ? '"' : '\'';

	g_string_append_c(to, quote);
	for (const char *at = valid; *at; at = g_utf8_next_char(at)) {
		gunichar c = g_utf8_get_char(at);

		if (c == '\n')
			g_string_append(to, "\\n");
		else if (c == '\r')
			g_string_append(to, "\\r");
		else if (c == '\t')
			g_string_append(to, "\\t");
		else if (c == (gunichar)quote || c == '\\')
			g_string_append_printf(to, "\\%c", (char)c);
		else if (c < 0x20 || c == 0x7f)
			g_string_append_printf(to, "\\x%02x", c);
		else
			g_string_append_unichar(to, c);
	}
	g_string_append_c(to, quote);
}

/* An exception becomes a text: the repr of its __dict__ with its class. */
static void add_exception(cJSON *to, const struct nova_exception *exception)
{
	GString *text = g_string_new(NULL);

	g_string_append_printf(text, "{'kwargs': {'code': %d}, 'message': ", exception->code);
	append_repr(text, exception->message);
	g_string_append(text, ", 'class': ");
	append_repr(text, exception->class_name);
	g_string_append_c(text, '}');
	cJSON_AddStringToObject(to, "exception", text->str);
	g_string_free(text, TRUE);
}

static bool is_any_of(const char *name, const char *const *names)
{
	return name && g_strv_contains(names, name);
}

/* Whether a field is a DateTimeField. In a message only the name distinguishes it from a text. */
static bool is_time_field(const char *name)
{
	static const char *const names[] = {"created_at",    "updated_at",   "deleted_at",
					    "launched_at",   "start_time",   "finish_time",
					    "terminated_at", "last_seen_up", NULL};

	return is_any_of(name, names);
}

/* Whether objects of this name are also dictionaries (NovaObjectDictCompat), whose items are their
 * fields. */
static bool is_dict_object(const char *object_name)
{
	static const char *const names[] = {"Instance",
					    "Flavor",
					    "InstanceFault",
					    "KeyPair",
					    "Service",
					    "BlockDeviceMapping",
					    "InstanceNUMATopology",
					    "InstanceNUMACell",
					    NULL};

	return is_any_of(object_name, names);
}

/* In an object's data (`are_fields`), a member's name determines its type; in a dictionary it does
 * not. */
static cJSON *primitive_members(const cJSON *members, bool are_fields)
{
	cJSON *copy = cJSON_CreateObject();
	const cJSON *item;

	cJSON_ArrayForEach (item, members)
		cJSON_AddItemToObject(copy, item->string,
				      to_primitive(are_fields ? item->string : NULL, item));
	return copy;
}

/* Instance.name, from nova's default instance_name_template. */
static void add_instance_name(cJSON *to, const cJSON *data)
{
	g_autofree char *name = NULL;
	int64_t id;

	if (!json_int64(data, "id", &id))
		return;
	name = g_strdup_printf("instance-%08" G_GINT64_MODIFIER "x", id);
	cJSON_AddStringToObject(to, "name", name);
}

static cJSON *primitive_list(const cJSON *list)
{
	cJSON *copy = cJSON_CreateArray();
	const cJSON *item;

	cJSON_ArrayForEach (item, list)
		cJSON_AddItemToArray(copy, to_primitive(NULL, item));
	return copy;
}

/* Any other object becomes a dictionary of its attributes. _context is left out, because it
 * contains the token. */
static cJSON *primitive_attributes(const cJSON *object, const cJSON *data)
{
	cJSON *copy = cJSON_CreateObject();
	const cJSON *changes = cJSON_GetObjectItemCaseSensitive(object, "nova_object.changes");
	const cJSON *item;

	cJSON_AddItemToObject(copy, "_changed_fields",
			      changes ? cJSON_Duplicate(changes, true) : cJSON_CreateArray());
	cJSON_AddItemToObject(copy, "VERSION", nova_copy_member(object, "nova_object.version"));
	cJSON_ArrayForEach (item, data) {
		g_autofree char *name = g_strconcat("_obj_", item->string, NULL);

		cJSON_AddItemToObject(copy, name, to_primitive(item->string, item));
	}
	return copy;
}

static cJSON *primitive_object(const cJSON *object, const cJSON *data)
{
	const char *name = json_string(object, "nova_object.name");
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(data, "objects");
	cJSON *copy;

	if (cJSON_IsArray(list))
		return primitive_list(list);
	if (!is_dict_object(name))
		return primitive_attributes(object, data);
	copy = primitive_members(data, true);
	if (g_str_equal(name, "Instance"))
		add_instance_name(copy, data);
	return copy;
}

static cJSON *primitive_text(const char *name, const cJSON *item)
{
	g_autofree char *time = NULL;
	cJSON *parsed = NULL;

	if (is_time_field(name)) {
		time = nova_time_strtime(item->valuestring);
		return cJSON_CreateString(time);
	}
	/* This field is JSON text in messages and a list in memory. */
	if (name && g_str_equal(name, "network_info"))
		parsed = json_parse(item->valuestring, strlen(item->valuestring), NULL);
	return parsed ? parsed : cJSON_Duplicate(item, true);
}

/* Converts a value as oslo_serialization.jsonutils.to_primitive does. `name` is the field's name;
 * NULL if the value is not a field. */
static cJSON *to_primitive(const char *name, const cJSON *item)
{
	const cJSON *data = cJSON_GetObjectItemCaseSensitive(item, "nova_object.data");

	if (cJSON_IsObject(item) && cJSON_IsObject(data))
		return primitive_object(item, data);
	if (cJSON_IsObject(item))
		return primitive_members(item, false);
	if (cJSON_IsArray(item))
		return primitive_list(item);
	if (cJSON_IsString(item))
		return primitive_text(name, item);
	return cJSON_Duplicate(item, true);
}

cJSON *nova_legacy_exception_payload(const struct nova_exception *exception, const cJSON *args)
{
	cJSON *payload = cJSON_CreateObject();
	cJSON *copy;
	const cJSON *item;

	add_exception(payload, exception);
	copy = cJSON_AddObjectToObject(payload, "args");
	cJSON_ArrayForEach (item, args) {
		/* nova.exception_wrapper._cleanse_dict */
		if (item->string && !strstr(item->string, "_pass"))
			cJSON_AddItemToObject(copy, item->string, to_primitive(NULL, item));
	}
	return payload;
}

cJSON *nova_versioned_exception_payload(const struct nova_exception *exception)
{
	/* The last line of a Python traceback; there are no frames to show. */
	g_autofree char *traceback = g_strdup_printf("%s.%s: %s\n", exception->module,
						     exception->class_name, exception->message);
	cJSON *data = cJSON_CreateObject();

	nova_add_text(data, "module_name", exception->module);
	nova_add_text(data, "function_name", exception->function);
	nova_add_text(data, "exception", exception->class_name);
	nova_add_text(data, "exception_message", exception->message);
	nova_add_text(data, "traceback", traceback);
	return nova_object_wrap("ExceptionPayload", "1.1", data);
}
