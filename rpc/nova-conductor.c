/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The calls to nova's conductor (nova.conductor.rpcapi.ConductorAPI, RPC 3.0).
 */
#include "rpc/nova-internal.h"

#define TOPIC "conductor"
#define VERSION "3.0"
#define EVENT "InstanceActionEvent"
#define EVENT_VERSION "1.4"
#define FAULT "InstanceFault"
#define FAULT_VERSION "1.2"

static cJSON *class_action(const char *name, const char *version, const char *method)
{
	cJSON *args = cJSON_CreateObject();
	cJSON *versions;

	cJSON_AddStringToObject(args, "objname", name);
	cJSON_AddStringToObject(args, "objmethod", method);
	versions = cJSON_AddObjectToObject(args, "object_versions");
	cJSON_AddStringToObject(versions, name, version);
	return args;
}

static cJSON *add_event_args(cJSON *args, const char *uuid, const char *event)
{
	cJSON *list = cJSON_AddArrayToObject(args, "args");

	cJSON_AddItemToArray(list, cJSON_CreateString(uuid));
	cJSON_AddItemToArray(list, cJSON_CreateString(event));
	return cJSON_AddObjectToObject(args, "kwargs");
}

static void add_text(cJSON *object, const char *name, const char *text)
{
	cJSON_AddItemToObject(object, name, text ? cJSON_CreateString(text) : cJSON_CreateNull());
}

cJSON *nova_event_start_args(const char *uuid, const char *event, const char *host)
{
	cJSON *args = class_action(EVENT, EVENT_VERSION, "event_start");
	cJSON *kwargs = add_event_args(args, uuid, event);

	cJSON_AddFalseToObject(kwargs, "want_result");
	cJSON_AddStringToObject(kwargs, "host", host);
	return args;
}

cJSON *nova_event_finish_args(const char *uuid, const char *event, const char *exc_val,
			      const char *exc_tb)
{
	cJSON *args = class_action(EVENT, EVENT_VERSION, "event_finish_with_failure");
	cJSON *kwargs = add_event_args(args, uuid, event);

	add_text(kwargs, "exc_val", exc_val);
	add_text(kwargs, "exc_tb", exc_tb);
	cJSON_AddFalseToObject(kwargs, "want_result");
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
	cJSON_AddStringToObject(data, "message", message);
	add_text(data, "details", details);
	cJSON_AddStringToObject(data, "host", host);
	object = nova_object_wrap(FAULT, FAULT_VERSION, data);
	changes = cJSON_AddArrayToObject(object, "nova_object.changes");
	for (size_t i = 0; i < G_N_ELEMENTS(fields); i++)
		cJSON_AddItemToArray(changes, cJSON_CreateString(fields[i]));
	cJSON_AddItemToObject(args, "objinst", object);
	cJSON_AddStringToObject(args, "objmethod", "create");
	cJSON_AddArrayToObject(args, "args");
	cJSON_AddObjectToObject(args, "kwargs");
	return args;
}

static int call(struct rpc *rpc, struct rpc_context *context, const char *method, cJSON *args,
		cJSON **ret_reply, GError **error)
{
	cJSON *reply = rpc_call(rpc, TOPIC, context, method, VERSION, args, 0, error);

	if (!reply)
		return -1;
	if (ret_reply)
		*ret_reply = reply;
	else
		cJSON_Delete(reply);
	return 0;
}

int nova_conductor_instance_save(struct rpc *rpc, struct rpc_context *context,
				 struct nova_instance *instance, const char *expected_task_state,
				 GError **error)
{
	cJSON *reply;

	if (call(rpc, context, "object_action", nova_save_args(instance, expected_task_state),
		 &reply, error) < 0) {
		g_prefix_error(error, "saving the instance: ");
		return -1;
	}
	nova_instance_merge(instance, reply);
	cJSON_Delete(reply);
	return 0;
}

int nova_conductor_event_start(struct rpc *rpc, struct rpc_context *context, const char *uuid,
			       const char *event, const char *host, GError **error)
{
	return call(rpc, context, "object_class_action_versions",
		    nova_event_start_args(uuid, event, host), NULL, error);
}

int nova_conductor_event_finish(struct rpc *rpc, struct rpc_context *context, const char *uuid,
				const char *event, const char *exc_val, const char *exc_tb,
				GError **error)
{
	return call(rpc, context, "object_class_action_versions",
		    nova_event_finish_args(uuid, event, exc_val, exc_tb), NULL, error);
}

int nova_conductor_fault_create(struct rpc *rpc, struct rpc_context *context, const char *uuid,
				int code, const char *message, const char *details,
				const char *host, GError **error)
{
	return call(rpc, context, "object_action",
		    nova_fault_args(uuid, code, message, details, host), NULL, error);
}
