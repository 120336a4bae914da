/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The instance of a cast (nova.objects.instance.Instance): carried as it came, a few fields set,
 * what the conductor answers merged.
 */
#include "rpc/json.h"
#include "rpc/nova/internal.h"

#include <limits.h>
#include <string.h>

struct nova_instance {
	bool plain;	      /* a dictionary: `object` is `data` */
	cJSON *object;	      /* the whole, as on the wire, without nova_object.changes */
	cJSON *data;	      /* its nova_object.data */
	GPtrArray *changes;   /* char *: the fields that are still to be saved, the oldest first */
	cJSON *block_devices; /* an array of their data; NULL: not asked for */
	char *uuid;
};

/* A new field takes its place among those that are there by the order of nova's own. */
static const char *const field_order[] = {
	"id",
	"user_id",
	"project_id",
	"image_ref",
	"kernel_id",
	"ramdisk_id",
	"hostname",
	"launch_index",
	"key_name",
	"key_data",
	"power_state",
	"vm_state",
	"task_state",
	"services",
	"memory_mb",
	"vcpus",
	"root_gb",
	"ephemeral_gb",
	"ephemeral_key_uuid",
	"host",
	"node",
	"compute_id",
	"instance_type_id",
	"user_data",
	"reservation_id",
	"launched_at",
	"terminated_at",
	"availability_zone",
	"display_name",
	"display_description",
	"launched_on",
	"locked",
	"locked_by",
	"os_type",
	"architecture",
	"vm_mode",
	"uuid",
	"root_device_name",
	"default_ephemeral_device",
	"default_swap_device",
	"config_drive",
	"access_ip_v4",
	"access_ip_v6",
	"auto_disk_config",
	"progress",
	"shutdown_terminate",
	"disable_terminate",
	"cell_name",
	"metadata",
	"system_metadata",
	"info_cache",
	"security_groups",
	"fault",
	"cleaned",
	"pci_devices",
	"numa_topology",
	"pci_requests",
	"device_metadata",
	"tags",
	"flavor",
	"old_flavor",
	"new_flavor",
	"vcpu_model",
	"ec2_ids",
	"migration_context",
	"keypairs",
	"trusted_certs",
	"hidden",
	"resources",
	"created_at",
	"updated_at",
	"deleted_at",
	"deleted",
};

static int decode_error(GError **error, const char *what)
{
	g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE, what);
	return -1;
}

static bool is_instance(const cJSON *object)
{
	const char *name = json_string(object, "nova_object.name");

	return name && g_str_equal(name, "Instance") &&
	       cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(object, "nova_object.data"));
}

static bool is_list_of_names(const cJSON *list)
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

static void note_change(struct nova_instance *instance, const char *field)
{
	if (!g_ptr_array_find_with_equal_func(instance->changes, field, g_str_equal, NULL))
		g_ptr_array_add(instance->changes, g_strdup(field));
}

static void set_changes(struct nova_instance *instance, const cJSON *names)
{
	const cJSON *name;

	g_ptr_array_set_size(instance->changes, 0);
	cJSON_ArrayForEach (name, names)
		note_change(instance, name->valuestring);
}

static int check(const cJSON *object, GError **error)
{
	const cJSON *data = cJSON_GetObjectItemCaseSensitive(object, "nova_object.data");
	const cJSON *changes = cJSON_GetObjectItemCaseSensitive(object, "nova_object.changes");
	const char *uuid = json_string(data, "uuid");

	if (!is_instance(object))
		return decode_error(error, "the argument instance is no Instance object");
	if (!uuid || !g_uuid_string_is_valid(uuid))
		return decode_error(error, "the argument instance has no well-formed uuid");
	if (cJSON_GetArraySize(data) > NOVA_MAX_FIELDS)
		return decode_error(error, "the argument instance has too many fields");
	if (changes && !is_list_of_names(changes))
		return decode_error(error, "the nova_object.changes of the argument instance are "
					   "no list of names");
	return 0;
}

/* Takes an object that was checked. */
static struct nova_instance *adopt(cJSON *object)
{
	struct nova_instance *instance = g_new0(struct nova_instance, 1);

	instance->object = object;
	instance->data = cJSON_GetObjectItemCaseSensitive(instance->object, "nova_object.data");
	instance->changes = g_ptr_array_new_with_free_func(g_free);
	set_changes(instance,
		    cJSON_GetObjectItemCaseSensitive(instance->object, "nova_object.changes"));
	cJSON_DeleteItemFromObjectCaseSensitive(instance->object, "nova_object.changes");
	instance->uuid = g_strdup(json_string(instance->data, "uuid"));
	return instance;
}

struct nova_instance *nova_instance_new(const cJSON *object, GError **error)
{
	return check(object, error) < 0 ? NULL : adopt(cJSON_Duplicate(object, true));
}

/* Folsom's lists of {"key": ..., "value": ...} become the dictionaries that they are today. */
static void flatten(cJSON *data, const char *name)
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

static bool is_short(const cJSON *dict, const char *name)
{
	return cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(dict, name)) <=
	       NOVA_MAX_METADATA;
}

static struct nova_instance *new_plain(const cJSON *dict, const char *uuid, GError **error)
{
	struct nova_instance *instance;

	if (cJSON_GetArraySize(dict) > NOVA_MAX_FIELDS || !is_short(dict, "metadata") ||
	    !is_short(dict, "system_metadata")) {
		(void)decode_error(error, "the argument instance has too many fields, or too much "
					  "metadata");
		return NULL;
	}
	if (!uuid || !g_uuid_string_is_valid(uuid)) {
		(void)decode_error(error, "the argument instance (or instance_uuid) has no "
					  "well-formed uuid");
		return NULL;
	}
	instance = g_new0(struct nova_instance, 1);
	instance->plain = true;
	instance->object = dict ? cJSON_Duplicate(dict, true) : cJSON_CreateObject();
	instance->data = instance->object;
	instance->changes = g_ptr_array_new_with_free_func(g_free);
	instance->uuid = g_strdup(uuid);
	nova_put_member(instance->data, "uuid", cJSON_CreateString(uuid));
	flatten(instance->data, "system_metadata");
	flatten(instance->data, "metadata");
	return instance;
}

struct nova_instance *nova_instance_from_args(const cJSON *args, GError **error)
{
	const cJSON *object = cJSON_GetObjectItemCaseSensitive(args, "instance");

	if (cJSON_IsObject(object) && !cJSON_HasObjectItem(object, "nova_object.name"))
		return new_plain(object, json_string(object, "uuid"), error);
	if (!object && cJSON_HasObjectItem(args, "instance_uuid"))
		return new_plain(NULL, json_string(args, "instance_uuid"), error);
	return nova_instance_new(object, error);
}

struct nova_instance *nova_instance_take_from_args(cJSON *args, GError **error)
{
	cJSON *object = cJSON_GetObjectItemCaseSensitive(args, "instance");
	cJSON *taken;

	if (!is_instance(object))
		return nova_instance_from_args(args, error);
	if (check(object, error) < 0)
		return NULL;
	/* The node keeps its name and its place. */
	taken = cJSON_CreateObject();
	taken->child = object->child;
	object->child = NULL;
	object->type = cJSON_NULL;
	return adopt(taken);
}

bool nova_instance_is_plain(const struct nova_instance *instance)
{
	return instance->plain;
}

void nova_instance_free(struct nova_instance *instance)
{
	if (!instance)
		return;
	cJSON_Delete(instance->object);
	cJSON_Delete(instance->block_devices);
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

static int field_rank(const char *field)
{
	for (size_t i = 0; i < G_N_ELEMENTS(field_order); i++) {
		if (g_str_equal(field_order[i], field))
			return (int)i;
	}
	return -1;
}

static void put_field(struct nova_instance *instance, const char *field, cJSON *value)
{
	bool is_new = !cJSON_GetObjectItemCaseSensitive(instance->data, field);
	int rank = field_rank(field);
	cJSON *later, *next;

	nova_put_member(instance->data, field, value);
	if (!is_new || rank < 0)
		return;
	for (later = instance->data->child; later != value; later = later->next) {
		if (field_rank(later->string) > rank)
			break;
	}
	/* What is to stand behind it goes there (cJSON_InsertItemInArray with the fix of
	 * CVE-2023-50471, as distributions have it, refuses and loses the item). */
	for (; later != value; later = next) {
		next = later->next;
		cJSON_AddItemToArray(instance->data,
				     cJSON_DetachItemViaPointer(instance->data, later));
	}
}

void nova_instance_set_task_state(struct nova_instance *instance, const char *task_state)
{
	put_field(instance, "task_state",
		  task_state ? cJSON_CreateString(task_state) : cJSON_CreateNull());
	note_change(instance, "task_state");
}

void nova_instance_set_power_state(struct nova_instance *instance, int power_state)
{
	put_field(instance, "power_state", cJSON_CreateNumber(power_state));
	note_change(instance, "power_state");
}

void nova_instance_set_vm_state(struct nova_instance *instance, const char *vm_state)
{
	put_field(instance, "vm_state", cJSON_CreateString(vm_state));
	note_change(instance, "vm_state");
}

void nova_instance_set_system_metadata(struct nova_instance *instance, const char *key,
				       const char *value)
{
	cJSON *metadata = cJSON_GetObjectItemCaseSensitive(instance->data, "system_metadata");

	if (!cJSON_IsObject(metadata)) {
		metadata = cJSON_CreateObject();
		put_field(instance, "system_metadata", metadata);
	}
	if (value)
		nova_put_member(metadata, key, cJSON_CreateString(value));
	else
		cJSON_DeleteItemFromObjectCaseSensitive(metadata, key);
	note_change(instance, "system_metadata");
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

/* A plain None would be no expectation: nova itself names the state None in a list. */
static void add_expected(cJSON *to, const char *expected)
{
	g_auto(GStrv) states = NULL;
	cJSON *list;

	if (!expected)
		return;
	if (*expected && !strchr(expected, ',')) {
		cJSON_AddStringToObject(to, "expected_task_state", expected);
		return;
	}
	list = cJSON_AddArrayToObject(to, "expected_task_state");
	/* g_strsplit makes nothing of an empty text. */
	if (!*expected)
		cJSON_AddItemToArray(list, cJSON_CreateNull());
	states = g_strsplit(expected, ",", -1);
	for (char **state = states; *state; state++)
		cJSON_AddItemToArray(list,
				     **state ? cJSON_CreateString(*state) : cJSON_CreateNull());
}

static cJSON *action_args(const struct nova_instance *instance, const char *method)
{
	cJSON *args = cJSON_CreateObject();

	cJSON_AddItemToObject(args, "objinst", nova_instance_object(instance));
	cJSON_AddStringToObject(args, "objmethod", method);
	cJSON_AddArrayToObject(args, "args");
	cJSON_AddObjectToObject(args, "kwargs");
	return args;
}

cJSON *nova_save_args(const struct nova_instance *instance, const char *expected_task_state)
{
	cJSON *args = action_args(instance, "save");

	add_expected(cJSON_GetObjectItemCaseSensitive(args, "kwargs"), expected_task_state);
	return args;
}

cJSON *nova_refresh_args(const struct nova_instance *instance)
{
	return action_args(instance, "refresh");
}

cJSON *nova_update_args(const struct nova_instance *instance, const char *expected_task_state)
{
	cJSON *args = cJSON_CreateObject();
	cJSON *updates;

	cJSON_AddStringToObject(args, "instance_uuid", instance->uuid);
	updates = cJSON_AddObjectToObject(args, "updates");
	for (guint i = 0; i < instance->changes->len; i++)
		cJSON_AddItemToObject(
			updates, instance->changes->pdata[i],
			nova_copy_member(instance->data, instance->changes->pdata[i]));
	add_expected(updates, expected_task_state);
	cJSON_AddStringToObject(args, "service", "conductor");
	return args;
}

int nova_instance_merge(struct nova_instance *instance, const cJSON *reply, GError **error)
{
	const cJSON *updates = cJSON_IsArray(reply) ? reply->child : NULL;
	const cJSON *changed = cJSON_GetObjectItemCaseSensitive(updates, "obj_what_changed");
	const cJSON *update;

	if (!cJSON_IsObject(updates) || cJSON_GetArraySize(updates) > NOVA_MAX_FIELDS)
		return decode_error(error, "the conductor's reply on the instance is no list of "
					   "updates and result");
	if (changed && !is_list_of_names(changed))
		return decode_error(error, "obj_what_changed in the conductor's reply on the "
					   "instance is no list of names");
	cJSON_ArrayForEach (update, updates) {
		/* The uuid is what all of this is about: it never changes. */
		if (update != changed && !g_str_equal(update->string, "uuid"))
			put_field(instance, update->string, cJSON_Duplicate(update, true));
	}
	set_changes(instance, changed);
	return 0;
}

int nova_instance_take_block_devices(struct nova_instance *instance, const cJSON *list,
				     GError **error)
{
	const cJSON *objects = cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(list, "nova_object.data"), "objects");
	const cJSON *object;

	if (!cJSON_IsArray(objects))
		return decode_error(error, "the conductor's reply to BlockDeviceMappingList."
					   "get_by_instance_uuid is no list");
	cJSON_Delete(instance->block_devices);
	instance->block_devices = cJSON_CreateArray();
	cJSON_ArrayForEach (object, objects)
		cJSON_AddItemToArray(instance->block_devices,
				     nova_copy_member(object, "nova_object.data"));
	return 0;
}

const cJSON *nova_instance_block_devices(const struct nova_instance *instance)
{
	return instance->block_devices;
}

bool nova_instance_has_flavor(const struct nova_instance *instance)
{
	return nova_member_data(instance->data, "flavor");
}

int nova_instance_take_flavor(struct nova_instance *instance, const cJSON *object, GError **error)
{
	static const char *const others[] = {"old_flavor", "new_flavor"};
	const cJSON *data = cJSON_GetObjectItemCaseSensitive(object, "nova_object.data");

	if (!is_instance(object) || !nova_member_data(data, "flavor"))
		return decode_error(error, "the conductor's reply to Instance.get_by_uuid is no "
					   "Instance with a flavor");
	put_field(instance, "flavor", nova_copy_member(data, "flavor"));
	for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
		put_field(instance, others[i], nova_copy_member(data, others[i]));
		note_change(instance, others[i]);
	}
	return 0;
}
