/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The instance of a cast (nova.objects.instance.Instance), carried as it came.
 */
#include <string.h>

#include "rpc/json.h"
#include "rpc/nova-internal.h"

struct nova_instance {
	cJSON *object;	  /* the whole, as on the wire */
	cJSON *data;	  /* its nova_object.data */
	cJSON *changes;	  /* names of changed fields, an array of its own */
	const char *uuid; /* in data */
};

cJSON *nova_copy_member(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return item ? cJSON_Duplicate(item, true) : cJSON_CreateNull();
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

static const char *what_is_wrong(const cJSON *object)
{
	const char *name = json_string(object, "nova_object.name");
	const cJSON *data = cJSON_GetObjectItemCaseSensitive(object, "nova_object.data");
	const char *uuid = json_string(data, "uuid");

	if (!cJSON_IsObject(object))
		return "its argument instance is no object";
	if (!name || !g_str_equal(name, "Instance") || !cJSON_IsObject(data))
		return "its argument instance is no Instance object";
	if (!uuid || !g_uuid_string_is_valid(uuid))
		return "its instance has no uuid that is one";
	return NULL;
}

struct nova_instance *nova_instance_new(const cJSON *object, GError **error)
{
	const char *wrong = what_is_wrong(object);
	struct nova_instance *instance;

	if (wrong) {
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE, wrong);
		return NULL;
	}
	instance = g_new0(struct nova_instance, 1);
	instance->object = cJSON_Duplicate(object, true);
	instance->data = cJSON_GetObjectItemCaseSensitive(instance->object, "nova_object.data");
	cJSON_DeleteItemFromObjectCaseSensitive(instance->object, "nova_object.changes");
	instance->changes = cJSON_CreateArray();
	instance->uuid = json_string(instance->data, "uuid");
	return instance;
}

void nova_instance_free(struct nova_instance *instance)
{
	if (!instance)
		return;
	cJSON_Delete(instance->object);
	cJSON_Delete(instance->changes);
	g_free(instance);
}

const char *nova_instance_uuid(const struct nova_instance *instance)
{
	return instance->uuid;
}

const char *nova_instance_string(const struct nova_instance *instance, const char *field)
{
	return json_string(instance->data, field);
}

const char *nova_instance_system_metadata(const struct nova_instance *instance, const char *key)
{
	return json_string(cJSON_GetObjectItemCaseSensitive(instance->data, "system_metadata"),
			   key);
}

const cJSON *nova_instance_data(const struct nova_instance *instance)
{
	return instance->data;
}

static void set_field(struct nova_instance *instance, const char *field, cJSON *value)
{
	const cJSON *change;

	if (cJSON_HasObjectItem(instance->data, field))
		cJSON_ReplaceItemInObjectCaseSensitive(instance->data, field, value);
	else
		cJSON_AddItemToObject(instance->data, field, value);
	cJSON_ArrayForEach (change, instance->changes) {
		if (g_str_equal(change->valuestring, field))
			return;
	}
	cJSON_AddItemToArray(instance->changes, cJSON_CreateString(field));
}

void nova_instance_set_task_state(struct nova_instance *instance, const char *task_state)
{
	set_field(instance, "task_state",
		  task_state ? cJSON_CreateString(task_state) : cJSON_CreateNull());
}

void nova_instance_set_power_state(struct nova_instance *instance, int power_state)
{
	set_field(instance, "power_state", cJSON_CreateNumber(power_state));
}

cJSON *nova_save_args(const struct nova_instance *instance, const char *expected_task_state)
{
	cJSON *args = cJSON_CreateObject();
	cJSON *object = cJSON_Duplicate(instance->object, true);
	cJSON *kwargs;

	cJSON_AddItemToObject(object, "nova_object.changes",
			      cJSON_Duplicate(instance->changes, true));
	cJSON_AddItemToObject(args, "objinst", object);
	cJSON_AddStringToObject(args, "objmethod", "save");
	cJSON_AddArrayToObject(args, "args");
	kwargs = cJSON_AddObjectToObject(args, "kwargs");
	if (expected_task_state && !*expected_task_state)
		cJSON_AddNullToObject(kwargs, "expected_task_state");
	else if (expected_task_state)
		cJSON_AddStringToObject(kwargs, "expected_task_state", expected_task_state);
	return args;
}

/* nova.objects.base.NovaObjectIndirection: [updates, result], the updates as primitives. */
void nova_instance_merge(struct nova_instance *instance, const cJSON *reply)
{
	const cJSON *updates = cJSON_IsArray(reply) ? cJSON_GetArrayItem(reply, 0) : NULL;
	const cJSON *update;

	cJSON_Delete(instance->changes);
	instance->changes = cJSON_CreateArray();
	cJSON_ArrayForEach (update, updates) {
		/* The uuid is what everything here is about: it never changes. */
		if (!update->string || g_str_equal(update->string, "obj_what_changed") ||
		    g_str_equal(update->string, "uuid"))
			continue;
		if (cJSON_GetObjectItemCaseSensitive(instance->data, update->string))
			cJSON_ReplaceItemInObjectCaseSensitive(instance->data, update->string,
							       cJSON_Duplicate(update, true));
		else
			cJSON_AddItemToObject(instance->data, update->string,
					      cJSON_Duplicate(update, true));
	}
}
