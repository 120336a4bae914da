/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Conductor calls that save and refresh an instance: their arguments and replies.
 */
#include "rpc/nova/instance-save.h"

#include <string.h>

#include "rpc/limits.h"
#include "rpc/nova/instance.h"
#include "rpc/nova/value.h"

/* A JSON null would mean that any state is expected, so None is sent in a list, as nova does. */
static void add_expected_states(cJSON *to, const char *expected)
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
	/* g_strsplit returns no strings for an empty text. */
	if (!*expected)
		cJSON_AddItemToArray(list, cJSON_CreateNull());
	states = g_strsplit(expected, ",", -1);
	for (char **state = states; *state; state++)
		cJSON_AddItemToArray(list,
				     **state ? cJSON_CreateString(*state) : cJSON_CreateNull());
}

static cJSON *object_action_args(const struct nova_instance *instance, const char *method)
{
	cJSON *args = cJSON_CreateObject();

	cJSON_AddItemToObject(args, "objinst", nova_instance_object(instance));
	cJSON_AddStringToObject(args, "objmethod", method);
	cJSON_AddArrayToObject(args, "args");
	cJSON_AddObjectToObject(args, "kwargs");
	return args;
}

cJSON *nova_instance_save_args(const struct nova_instance *instance,
			       const char *expected_task_state)
{
	cJSON *args = object_action_args(instance, "save");

	add_expected_states(cJSON_GetObjectItemCaseSensitive(args, "kwargs"), expected_task_state);
	return args;
}

/* Of objects that are fields, nova would save the changes, too. */
static void forget_nested_changes(cJSON *value)
{
	cJSON *member = value->child;

	while (member) {
		cJSON *next = member->next;

		if (member->string && g_str_equal(member->string, "nova_object.changes"))
			cJSON_Delete(cJSON_DetachItemViaPointer(value, member));
		else
			forget_nested_changes(member);
		member = next;
	}
}

cJSON *nova_instance_progress_args(const cJSON *object, int percent)
{
	cJSON *args = cJSON_CreateObject();
	cJSON *copy = cJSON_Duplicate(object, true);

	forget_nested_changes(copy);
	nova_put_member(cJSON_GetObjectItemCaseSensitive(copy, "nova_object.data"), "progress",
			cJSON_CreateNumber(percent));
	cJSON_AddItemToArray(cJSON_AddArrayToObject(copy, "nova_object.changes"),
			     cJSON_CreateString("progress"));
	cJSON_AddItemToObject(args, "objinst", copy);
	cJSON_AddStringToObject(args, "objmethod", "save");
	cJSON_AddArrayToObject(args, "args");
	cJSON_AddObjectToObject(args, "kwargs");
	return args;
}

cJSON *nova_instance_refresh_args(const struct nova_instance *instance)
{
	return object_action_args(instance, "refresh");
}

cJSON *nova_instance_update_args(const struct nova_instance *instance,
				 const char *expected_task_state)
{
	cJSON *args = cJSON_CreateObject();
	cJSON *updates;

	cJSON_AddStringToObject(args, "instance_uuid", instance->uuid);
	updates = cJSON_AddObjectToObject(args, "updates");
	for (guint i = 0; i < instance->changes->len; i++)
		cJSON_AddItemToObject(
			updates, instance->changes->pdata[i],
			nova_copy_member(instance->data, instance->changes->pdata[i]));
	add_expected_states(updates, expected_task_state);
	cJSON_AddStringToObject(args, "service", "conductor");
	return args;
}

int nova_instance_merge(struct nova_instance *instance, const cJSON *reply, GError **error)
{
	const cJSON *updates = cJSON_IsArray(reply) ? reply->child : NULL;
	const cJSON *changed = cJSON_GetObjectItemCaseSensitive(updates, "obj_what_changed");
	const cJSON *update;

	if (!cJSON_IsObject(updates) || cJSON_GetArraySize(updates) > NOVA_MAX_FIELDS)
		return nova_decode_error(error, "the conductor's reply about the instance is not a "
						"list of updates and result");
	if (changed && !nova_is_name_list(changed))
		return nova_decode_error(error, "obj_what_changed in the conductor's reply about "
						"the instance is not a list of names");
	cJSON_ArrayForEach (update, updates) {
		/* The uuid never changes, because other data refers to it. */
		if (update != changed && !g_str_equal(update->string, "uuid"))
			nova_instance_put_field(instance, update->string,
						cJSON_Duplicate(update, true));
	}
	nova_instance_set_changes(instance, changed);
	return 0;
}

/* JSON in a string may be redacted in part. */
static bool is_redacted(const cJSON *value)
{
	return cJSON_IsString(value) && strstr(value->valuestring, RPC_REDACTED);
}

bool nova_instance_is_redacted(const struct nova_instance *instance)
{
	for (guint i = 0; i < instance->changes->len; i++) {
		const cJSON *field = cJSON_GetObjectItemCaseSensitive(instance->data,
								      instance->changes->pdata[i]);
		const cJSON *member;

		if (is_redacted(field))
			return true;
		cJSON_ArrayForEach (member, field) {
			if (is_redacted(member))
				return true;
		}
	}
	return false;
}

static void restore_members(cJSON *field, const cJSON *fresh)
{
	cJSON *member = field->child;

	while (member) {
		cJSON *next = member->next;
		g_autofree char *name = g_strdup(member->string);

		if (is_redacted(member) && cJSON_GetObjectItemCaseSensitive(fresh, name))
			nova_put_member(field, name, nova_copy_member(fresh, name));
		else if (is_redacted(member))
			cJSON_Delete(cJSON_DetachItemViaPointer(field, member));
		member = next;
	}
}

int nova_instance_restore_redacted(struct nova_instance *instance, const cJSON *reply,
				   GError **error)
{
	const cJSON *updates = cJSON_IsArray(reply) ? reply->child : NULL;

	if (!cJSON_IsObject(updates))
		return nova_decode_error(error, "the conductor's reply about the instance is not a "
						"list of updates and result");
	for (guint i = 0; i < instance->changes->len; i++) {
		const char *name = instance->changes->pdata[i];
		cJSON *field = cJSON_GetObjectItemCaseSensitive(instance->data, name);
		const cJSON *fresh = cJSON_GetObjectItemCaseSensitive(updates, name);

		/* A refresh replies with the fields that differ. */
		if (!fresh)
			continue;
		if (is_redacted(field))
			nova_instance_put_field(instance, name, cJSON_Duplicate(fresh, true));
		else if (cJSON_IsObject(field))
			restore_members(field, fresh);
	}
	return 0;
}

/* Stores the data of the list's objects. `name` is the list's. */
static int take_list(cJSON **to, const cJSON *list, const char *name, GError **error)
{
	const cJSON *objects = cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(list, "nova_object.data"), "objects");
	const cJSON *object;

	if (!cJSON_IsArray(objects)) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE,
			    "the conductor's reply to %s.get_by_instance_uuid is not a list", name);
		return -1;
	}
	cJSON_Delete(*to);
	*to = cJSON_CreateArray();
	cJSON_ArrayForEach (object, objects)
		cJSON_AddItemToArray(*to, nova_copy_member(object, "nova_object.data"));
	return 0;
}

int nova_instance_take_block_devices(struct nova_instance *instance, const cJSON *list,
				     GError **error)
{
	return take_list(&instance->block_devices, list, "BlockDeviceMappingList", error);
}

int nova_instance_take_shares(struct nova_instance *instance, const cJSON *list, GError **error)
{
	return take_list(&instance->shares, list, "ShareMappingList", error);
}

bool nova_instance_has_flavor(const struct nova_instance *instance)
{
	return nova_member_data(instance->data, "flavor");
}

int nova_instance_take_flavor(struct nova_instance *instance, const cJSON *object, GError **error)
{
	static const char *const others[] = {"old_flavor", "new_flavor"};
	const cJSON *data = cJSON_GetObjectItemCaseSensitive(object, "nova_object.data");

	if (!nova_is_object(object, "Instance") || !nova_member_data(data, "flavor"))
		return nova_decode_error(error,
					 "the conductor's reply to Instance.get_by_uuid is not "
					 "an Instance with a flavor");
	nova_instance_put_field(instance, "flavor", nova_copy_member(data, "flavor"));
	for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
		nova_instance_put_field(instance, others[i], nova_copy_member(data, others[i]));
		nova_instance_note_change(instance, others[i]);
	}
	return 0;
}
