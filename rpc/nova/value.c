/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Helpers for nova's messages.
 */
#include "rpc/nova/value.h"

#include "rpc/json.h"
#include "rpc/limits.h"
#include "rpc/rpc.h"

cJSON *nova_copy_member(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return item ? cJSON_Duplicate(item, true) : cJSON_CreateNull();
}

void nova_add_text(cJSON *object, const char *name, const char *text)
{
	g_autofree char *valid = text ? g_utf8_make_valid(text, -1) : NULL;

	cJSON_AddItemToObject(object, name, valid ? cJSON_CreateString(valid) : cJSON_CreateNull());
}

void nova_put_member(cJSON *object, const char *name, cJSON *value)
{
	if (cJSON_GetObjectItemCaseSensitive(object, name))
		cJSON_ReplaceItemInObjectCaseSensitive(object, name, value);
	else
		cJSON_AddItemToObject(object, name, value);
}

bool nova_is_object(const cJSON *object, const char *name)
{
	return g_strcmp0(json_string(object, "nova_object.name"), name) == 0 &&
	       cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(object, "nova_object.data"));
}

const cJSON *nova_member_data(const cJSON *object, const char *name)
{
	const cJSON *data = cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(object, name), "nova_object.data");

	return cJSON_IsObject(data) ? data : NULL;
}

cJSON *nova_object_wrap(const char *name, const char *version, cJSON *data)
{
	cJSON *object = cJSON_CreateObject();

	cJSON_AddStringToObject(object, "nova_object.name", name);
	cJSON_AddStringToObject(object, "nova_object.namespace", "nova");
	cJSON_AddStringToObject(object, "nova_object.version", version);
	cJSON_AddItemToObject(object, "nova_object.data", data);
	return object;
}

bool nova_is_name_list(const cJSON *list)
{
	const cJSON *name;

	if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) > NOVA_MAX_FIELDS)
		return false;
	cJSON_ArrayForEach (name, list) {
		if (!cJSON_IsString(name))
			return false;
	}
	return true;
}

static GDateTime *parse_time(const char *text)
{
	g_autoptr(GTimeZone) utc = g_time_zone_new_utc();

	return g_date_time_new_from_iso8601(text, utc);
}

char *nova_time_str(const char *text)
{
	g_autoptr(GDateTime) time = parse_time(text);

	if (!time)
		return g_strdup(text);
	/* Python omits microseconds that are zero. */
	return g_date_time_format(time, g_date_time_get_microsecond(time)
						? "%Y-%m-%d %H:%M:%S.%f%:z"
						: "%Y-%m-%d %H:%M:%S%:z");
}

char *nova_time_strtime(const char *text)
{
	g_autoptr(GDateTime) time = parse_time(text);

	return time ? g_date_time_format(time, "%Y-%m-%dT%H:%M:%S.%f") : g_strdup(text);
}

int nova_decode_error(GError **error, const char *text)
{
	g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE, text);
	return -1;
}
