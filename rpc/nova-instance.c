/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The instance of a cast (nova.objects.instance.Instance): carried as it came, a few fields set,
 * what the conductor answers merged.
 */
#include "rpc/json.h"
#include "rpc/nova-internal.h"

#include <string.h>

/* More than any release has, and few enough to look through. */
#define MAX_FIELDS 1000

struct nova_instance {
	cJSON *object;	    /* the whole, as on the wire, without nova_object.changes */
	cJSON *data;	    /* its nova_object.data */
	GPtrArray *changes; /* char *: the fields that are still to be saved, the oldest first */
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

	if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) > MAX_FIELDS)
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
	if (cJSON_GetArraySize(data) > MAX_FIELDS)
		return decode_error(error, "the argument instance has too many fields");
	if (changes && !is_list_of_names(changes))
		return decode_error(error, "the nova_object.changes of the argument instance are "
					   "no list of names");
	return 0;
}

struct nova_instance *nova_instance_new(const cJSON *object, GError **error)
{
	struct nova_instance *instance;

	if (check(object, error) < 0)
		return NULL;
	instance = g_new0(struct nova_instance, 1);
	instance->object = cJSON_Duplicate(object, true);
	instance->data = cJSON_GetObjectItemCaseSensitive(instance->object, "nova_object.data");
	instance->changes = g_ptr_array_new_with_free_func(g_free);
	set_changes(instance,
		    cJSON_GetObjectItemCaseSensitive(instance->object, "nova_object.changes"));
	cJSON_DeleteItemFromObjectCaseSensitive(instance->object, "nova_object.changes");
	instance->uuid = g_strdup(json_string(instance->data, "uuid"));
	return instance;
}

void nova_instance_free(struct nova_instance *instance)
{
	if (!instance)
		return;
	cJSON_Delete(instance->object);
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

cJSON *nova_instance_object(const struct nova_instance *instance)
{
	cJSON *object = cJSON_Duplicate(instance->object, true);
	cJSON *changes;

	if (instance->changes->len > 0) {
		changes = cJSON_AddArrayToObject(object, "nova_object.changes");
		for (guint i = 0; i < instance->changes->len; i++)
			cJSON_AddItemToArray(changes,
					     cJSON_CreateString(instance->changes->pdata[i]));
	}
	return object;
}

cJSON *nova_save_args(const struct nova_instance *instance, const char *expected_task_state)
{
	cJSON *args = cJSON_CreateObject();
	cJSON *kwargs;

	cJSON_AddItemToObject(args, "objinst", nova_instance_object(instance));
	cJSON_AddStringToObject(args, "objmethod", "save");
	cJSON_AddArrayToObject(args, "args");
	kwargs = cJSON_AddObjectToObject(args, "kwargs");
	/* A plain None would be no expectation: nova itself names the state None in a list. */
	if (expected_task_state && !*expected_task_state)
		cJSON_AddItemToArray(cJSON_AddArrayToObject(kwargs, "expected_task_state"),
				     cJSON_CreateNull());
	else if (expected_task_state)
		cJSON_AddStringToObject(kwargs, "expected_task_state", expected_task_state);
	return args;
}

int nova_instance_merge(struct nova_instance *instance, const cJSON *reply, GError **error)
{
	const cJSON *updates = cJSON_IsArray(reply) ? reply->child : NULL;
	const cJSON *changed = cJSON_GetObjectItemCaseSensitive(updates, "obj_what_changed");
	const cJSON *update;

	if (!cJSON_IsObject(updates) || cJSON_GetArraySize(updates) > MAX_FIELDS)
		return decode_error(error, "the conductor's reply to Instance.save is no list of "
					   "updates and result");
	if (changed && !is_list_of_names(changed))
		return decode_error(error, "obj_what_changed in the conductor's reply to "
					   "Instance.save is no list of names");
	cJSON_ArrayForEach (update, updates) {
		/* The uuid is what all of this is about: it never changes. */
		if (update != changed && !g_str_equal(update->string, "uuid"))
			put_field(instance, update->string, cJSON_Duplicate(update, true));
	}
	set_changes(instance, changed);
	return 0;
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
