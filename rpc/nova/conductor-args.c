/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See conductor-args.h.
 */
#include "rpc/nova/conductor-args.h"

#include "rpc/nova/object-versions.h"
#include "rpc/nova/value.h"

#define EVENT_OBJECT "InstanceActionEvent"
#define FAULT_OBJECT "InstanceFault"
#define FAULT_VERSION "1.2"
#define FAULT_CODE_INTERNAL 500

/* The arguments of object_class_action_versions, without args and kwargs. */
static cJSON *class_action(const char *name, const char *method, enum nova_query query,
			   const struct nova_release *release)
{
	cJSON *args = cJSON_CreateObject();

	cJSON_AddStringToObject(args, "objname", name);
	cJSON_AddStringToObject(args, "objmethod", method);
	nova_add_object_versions(cJSON_AddObjectToObject(args, "object_versions"), query, release);
	return args;
}

/* The arguments of a class method of InstanceActionEvent. The caller fills `ret_kwargs`. */
static cJSON *event_action(const char *method, const struct nova_release *release, const char *uuid,
			   const char *event, cJSON **ret_kwargs)
{
	cJSON *args = class_action(EVENT_OBJECT, method, NOVA_QUERY_ACTION_EVENT, release);
	cJSON *list = cJSON_AddArrayToObject(args, "args");

	cJSON_AddItemToArray(list, cJSON_CreateString(uuid));
	cJSON_AddItemToArray(list, cJSON_CreateString(event));
	*ret_kwargs = cJSON_AddObjectToObject(args, "kwargs");
	return args;
}

cJSON *nova_event_start_args(const struct nova_release *release, const char *uuid,
			     const char *event, const char *host)
{
	cJSON *kwargs;
	cJSON *args = event_action("event_start", release, uuid, event, &kwargs);

	cJSON_AddFalseToObject(kwargs, "want_result");
	cJSON_AddStringToObject(kwargs, "host", host);
	return args;
}

cJSON *nova_event_finish_args(const struct nova_release *release, const char *uuid,
			      const char *event, const char *exc_val, const char *exc_tb)
{
	cJSON *kwargs;
	cJSON *args = event_action("event_finish_with_failure", release, uuid, event, &kwargs);

	nova_add_text(kwargs, "exc_val", exc_val);
	/* Without a traceback the conductor records a success. */
	nova_add_text(kwargs, "exc_tb", exc_val && !exc_tb ? "" : exc_tb);
	cJSON_AddFalseToObject(kwargs, "want_result");
	return args;
}

cJSON *nova_find_action_args(const struct nova_release *release, const char *uuid,
			     const char *request_id)
{
	cJSON *args =
		class_action("InstanceAction", "get_by_request_id", NOVA_QUERY_ACTION, release);
	cJSON *list = cJSON_AddArrayToObject(args, "args");

	cJSON_AddItemToArray(list, cJSON_CreateString(uuid));
	cJSON_AddItemToArray(list, cJSON_CreateString(request_id));
	cJSON_AddObjectToObject(args, "kwargs");
	return args;
}

cJSON *nova_list_events_args(const struct nova_release *release, int64_t action)
{
	cJSON *args = class_action(EVENT_OBJECT "List", "get_by_action", NOVA_QUERY_ACTION_EVENTS,
				   release);

	cJSON_AddItemToArray(cJSON_AddArrayToObject(args, "args"),
			     cJSON_CreateNumber((double)action));
	cJSON_AddObjectToObject(args, "kwargs");
	return args;
}

cJSON *nova_fault_args(const char *uuid, int code, const char *message, const char *details,
		       const char *host)
{
	static const char *const fields[] = {"code", "host", "details", "message", "instance_uuid"};
	cJSON *data = cJSON_CreateObject();
	cJSON *args = cJSON_CreateObject();
	cJSON *object, *changes;

	cJSON_AddStringToObject(data, "instance_uuid", uuid);
	cJSON_AddNumberToObject(data, "code", code);
	nova_add_text(data, "message", message);
	/* As nova.compute.utils._get_fault_details: only internal errors have details. */
	nova_add_text(data, "details", details && code == FAULT_CODE_INTERNAL ? details : "");
	cJSON_AddStringToObject(data, "host", host);
	object = nova_object_wrap(FAULT_OBJECT, FAULT_VERSION, data);
	changes = cJSON_AddArrayToObject(object, "nova_object.changes");
	for (size_t i = 0; i < G_N_ELEMENTS(fields); i++)
		cJSON_AddItemToArray(changes, cJSON_CreateString(fields[i]));
	cJSON_AddItemToObject(args, "objinst", object);
	cJSON_AddStringToObject(args, "objmethod", "create");
	cJSON_AddArrayToObject(args, "args");
	cJSON_AddObjectToObject(args, "kwargs");
	return args;
}

cJSON *nova_list_faults_args(const struct nova_release *release, const char *uuid)
{
	cJSON *args = class_action(FAULT_OBJECT "List", "get_by_instance_uuids", NOVA_QUERY_FAULTS,
				   release);
	cJSON *uuids = cJSON_CreateArray();

	cJSON_AddItemToArray(uuids, cJSON_CreateString(uuid));
	cJSON_AddItemToArray(cJSON_AddArrayToObject(args, "args"), uuids);
	cJSON_AddObjectToObject(args, "kwargs");
	return args;
}

cJSON *nova_load_flavor_args(const struct nova_release *release, const char *uuid)
{
	cJSON *args = class_action("Instance", "get_by_uuid", NOVA_QUERY_INSTANCE, release);
	cJSON *kwargs;

	cJSON_AddArrayToObject(args, "args");
	kwargs = cJSON_AddObjectToObject(args, "kwargs");
	cJSON_AddStringToObject(kwargs, "uuid", uuid);
	cJSON_AddItemToArray(cJSON_AddArrayToObject(kwargs, "expected_attrs"),
			     cJSON_CreateString("flavor"));
	return args;
}

static cJSON *list_of_instance_args(const char *name, enum nova_query query,
				    const struct nova_release *release, const char *uuid)
{
	cJSON *args = class_action(name, "get_by_instance_uuid", query, release);

	cJSON_AddItemToArray(cJSON_AddArrayToObject(args, "args"), cJSON_CreateString(uuid));
	cJSON_AddObjectToObject(args, "kwargs");
	return args;
}

cJSON *nova_load_block_devices_args(const struct nova_release *release, const char *uuid)
{
	return list_of_instance_args("BlockDeviceMappingList", NOVA_QUERY_BLOCK_DEVICES, release,
				     uuid);
}

cJSON *nova_load_shares_args(const struct nova_release *release, const char *uuid)
{
	return list_of_instance_args("ShareMappingList", NOVA_QUERY_SHARES, release, uuid);
}
