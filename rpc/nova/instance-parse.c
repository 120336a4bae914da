/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Creates an instance from the arguments of a request, in the forms that nova's releases have sent:
 * a versioned object, a dictionary, or only a uuid.
 */
#include <string.h>

#include "rpc/json.h"
#include "rpc/limits.h"
#include "rpc/nova/instance.h"
#include "rpc/nova/value.h"

#define INSTANCE_OBJECT "Instance"

static const char *object_uuid(const cJSON *object)
{
	return json_string(cJSON_GetObjectItemCaseSensitive(object, "nova_object.data"), "uuid");
}

static int check_instance_object(const cJSON *object, GError **error)
{
	const cJSON *data = cJSON_GetObjectItemCaseSensitive(object, "nova_object.data");
	const cJSON *changes = cJSON_GetObjectItemCaseSensitive(object, "nova_object.changes");
	const char *uuid = object_uuid(object);

	if (!nova_is_object(object, INSTANCE_OBJECT))
		return nova_decode_error(error, "the argument instance is not an Instance object");
	if (!uuid || !g_uuid_string_is_valid(uuid))
		return nova_decode_error(error, "the argument instance has no valid uuid");
	if (cJSON_GetArraySize(data) > NOVA_MAX_FIELDS)
		return nova_decode_error(error, "the argument instance has too many fields");
	if (changes && !nova_is_name_list(changes))
		return nova_decode_error(error,
					 "the nova_object.changes of the argument instance are "
					 "not a list of names");
	return 0;
}

struct nova_instance *nova_instance_new(const cJSON *object, GError **error)
{
	if (check_instance_object(object, error) < 0)
		return NULL;
	return nova_instance_adopt(cJSON_Duplicate(object, true), object_uuid(object), false);
}

/* Folsom sent metadata as a list of {"key": ..., "value": ...}: converts it to today's
 * dictionary. */
static void convert_metadata(cJSON *data, const char *name)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(data, name);
	cJSON *dict;
	const cJSON *item;

	if (!cJSON_IsArray(list))
		return;
	dict = cJSON_CreateObject();
	cJSON_ArrayForEach (item, list) {
		const char *key = json_string(item, "key");

		if (key)
			nova_put_member(dict, key, nova_copy_member(item, "value"));
	}
	nova_put_member(data, name, dict);
}

static bool has_short_metadata(const cJSON *dict, const char *name)
{
	return cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(dict, name)) <=
	       NOVA_MAX_METADATA;
}

/* `dict` is the dictionary; NULL if only the uuid was sent. */
static struct nova_instance *new_plain_instance(const cJSON *dict, const char *uuid, GError **error)
{
	struct nova_instance *instance;

	if (cJSON_GetArraySize(dict) > NOVA_MAX_FIELDS || !has_short_metadata(dict, "metadata") ||
	    !has_short_metadata(dict, "system_metadata")) {
		(void)nova_decode_error(error,
					"the argument instance has too many fields, or too much "
					"metadata");
		return NULL;
	}
	if (!uuid || !g_uuid_string_is_valid(uuid)) {
		(void)nova_decode_error(error, "the argument instance (or instance_uuid) has no "
					       "valid uuid");
		return NULL;
	}
	instance = nova_instance_adopt(dict ? cJSON_Duplicate(dict, true) : cJSON_CreateObject(),
				       uuid, true);
	nova_put_member(instance->data, "uuid", cJSON_CreateString(uuid));
	convert_metadata(instance->data, "system_metadata");
	convert_metadata(instance->data, "metadata");
	return instance;
}

struct nova_instance *nova_instance_from_args(const cJSON *args, GError **error)
{
	const cJSON *object = cJSON_GetObjectItemCaseSensitive(args, "instance");

	if (cJSON_IsObject(object) && !cJSON_HasObjectItem(object, "nova_object.name"))
		return new_plain_instance(object, json_string(object, "uuid"), error);
	if (!object && cJSON_HasObjectItem(args, "instance_uuid"))
		return new_plain_instance(NULL, json_string(args, "instance_uuid"), error);
	return nova_instance_new(object, error);
}

struct nova_instance *nova_instance_take_from_args(cJSON *args, GError **error)
{
	cJSON *object = cJSON_GetObjectItemCaseSensitive(args, "instance");
	cJSON *taken;

	if (!nova_is_object(object, INSTANCE_OBJECT))
		return nova_instance_from_args(args, error);
	if (check_instance_object(object, error) < 0)
		return NULL;
	/* The argument becomes a null with the same name, at the same place. */
	taken = cJSON_CreateObject();
	taken->child = object->child;
	object->child = NULL;
	object->type = cJSON_NULL;
	return nova_instance_adopt(taken, object_uuid(taken), false);
}
