/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The instance of a request (nova.objects.instance.Instance): forwarded as it was received, with a
 * few fields that are read or set.
 */
#include "rpc/nova/instance.h"

#include <limits.h>

#include "rpc/json.h"
#include "rpc/nova/field-order.h"
#include "rpc/nova/value.h"
#include "rpc/version.h"

void nova_instance_note_change(struct nova_instance *instance, const char *field)
{
	if (!g_ptr_array_find_with_equal_func(instance->changes, field, g_str_equal, NULL))
		g_ptr_array_add(instance->changes, g_strdup(field));
}

void nova_instance_set_changes(struct nova_instance *instance, const cJSON *names)
{
	const cJSON *name;

	g_ptr_array_set_size(instance->changes, 0);
	cJSON_ArrayForEach (name, names)
		nova_instance_note_change(instance, name->valuestring);
}

struct nova_instance *nova_instance_adopt(cJSON *object, const char *uuid, bool plain)
{
	struct nova_instance *instance = g_new0(struct nova_instance, 1);

	instance->plain = plain;
	instance->object = object;
	instance->data =
		plain ? object : cJSON_GetObjectItemCaseSensitive(object, "nova_object.data");
	instance->changes = g_ptr_array_new_with_free_func(g_free);
	instance->uuid = g_strdup(uuid);
	if (!plain) {
		nova_instance_set_changes(
			instance, cJSON_GetObjectItemCaseSensitive(object, "nova_object.changes"));
		cJSON_DeleteItemFromObjectCaseSensitive(object, "nova_object.changes");
	}
	return instance;
}

bool nova_instance_is_plain(const struct nova_instance *instance)
{
	return instance->plain;
}

bool nova_instance_has_version(const struct nova_instance *instance, const char *version)
{
	const char *own = json_string(instance->object, "nova_object.version");
	const char *const versions[] = {own, NULL};

	return !instance->plain && rpc_version_is_served(versions, version);
}

void nova_instance_free(struct nova_instance *instance)
{
	if (!instance)
		return;
	cJSON_Delete(instance->object);
	cJSON_Delete(instance->block_devices);
	cJSON_Delete(instance->shares);
	g_ptr_array_unref(instance->changes);
	g_free(instance->uuid);
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

bool nova_instance_image_flag(const struct nova_instance *instance, const char *property)
{
	static const char *const yes[] = {"1", "t", "true", "on", "y", "yes", NULL};
	g_autofree char *key = g_strconcat("image_", property, NULL);
	const char *text = nova_instance_system_metadata(instance, key);
	g_autofree char *folded = text ? g_ascii_strdown(text, -1) : NULL;

	return folded && g_strv_contains(yes, g_strstrip(folded));
}

int nova_instance_int(const struct nova_instance *instance, const char *field, int fallback)
{
	int64_t value;

	return json_int64(instance->data, field, &value) && value >= INT_MIN && value <= INT_MAX
		       ? (int)value
		       : fallback;
}

const cJSON *nova_instance_data(const struct nova_instance *instance)
{
	return instance->data;
}

const cJSON *nova_instance_block_devices(const struct nova_instance *instance)
{
	return instance->block_devices;
}

const cJSON *nova_instance_shares(const struct nova_instance *instance)
{
	return instance->shares;
}

unsigned nova_instance_share_count(const struct nova_instance *instance)
{
	return (unsigned)cJSON_GetArraySize(instance->shares);
}

void nova_instance_put_field(struct nova_instance *instance, const char *field, cJSON *value)
{
	nova_instance_data_put(instance->data, field, value);
}

void nova_instance_set_task_state(struct nova_instance *instance, const char *task_state)
{
	nova_instance_put_field(instance, "task_state",
				task_state ? cJSON_CreateString(task_state) : cJSON_CreateNull());
	nova_instance_note_change(instance, "task_state");
}

void nova_instance_set_power_state(struct nova_instance *instance, int power_state)
{
	nova_instance_put_field(instance, "power_state", cJSON_CreateNumber(power_state));
	nova_instance_note_change(instance, "power_state");
}

void nova_instance_set_progress(struct nova_instance *instance, int percent)
{
	nova_instance_put_field(instance, "progress", cJSON_CreateNumber(percent));
	nova_instance_note_change(instance, "progress");
}

void nova_instance_set_vm_state(struct nova_instance *instance, const char *vm_state)
{
	nova_instance_put_field(instance, "vm_state", cJSON_CreateString(vm_state));
	nova_instance_note_change(instance, "vm_state");
}

void nova_instance_set_system_metadata(struct nova_instance *instance, const char *key,
				       const char *value)
{
	cJSON *metadata = cJSON_GetObjectItemCaseSensitive(instance->data, "system_metadata");

	if (!cJSON_IsObject(metadata)) {
		metadata = cJSON_CreateObject();
		nova_instance_put_field(instance, "system_metadata", metadata);
	}
	if (value)
		nova_put_member(metadata, key, cJSON_CreateString(value));
	else
		cJSON_DeleteItemFromObjectCaseSensitive(metadata, key);
	nova_instance_note_change(instance, "system_metadata");
}

void nova_instance_forget_changes(struct nova_instance *instance)
{
	g_ptr_array_set_size(instance->changes, 0);
}

cJSON *nova_instance_object(const struct nova_instance *instance)
{
	cJSON *object = cJSON_Duplicate(instance->object, true);
	cJSON *changes;

	if (instance->changes->len > 0 && !instance->plain) {
		changes = cJSON_AddArrayToObject(object, "nova_object.changes");
		for (guint i = 0; i < instance->changes->len; i++)
			cJSON_AddItemToArray(changes,
					     cJSON_CreateString(instance->changes->pdata[i]));
	}
	return object;
}

bool nova_task_state_is_deleting(const char *task_state)
{
	return g_strcmp0(task_state, "deleting") == 0 ||
	       g_strcmp0(task_state, "soft-deleting") == 0;
}
