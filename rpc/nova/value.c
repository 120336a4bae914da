/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The small change of nova's messages: members, texts, times, the frame of a versioned object.
 */
#include "rpc/json.h"
#include "rpc/nova/internal.h"

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
	/* Python leaves out what is zero. */
	return g_date_time_format(time, g_date_time_get_microsecond(time)
						? "%Y-%m-%d %H:%M:%S.%f%:z"
						: "%Y-%m-%d %H:%M:%S%:z");
}

char *nova_time_strtime(const char *text)
{
	g_autoptr(GDateTime) time = parse_time(text);

	return time ? g_date_time_format(time, "%Y-%m-%dT%H:%M:%S.%f") : g_strdup(text);
}
