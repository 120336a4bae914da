/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nova's record of a compute service (nova.objects.service.Service), maintained as nova.service and
 * nova.servicegroup.drivers.db do.
 */
#include "rpc/json.h"
#include "rpc/limits.h"
#include "rpc/nova/conductor.h"
#include "rpc/nova/value.h"

#define SERVICE_OBJECT "Service"
#define SERVICE_VERSION "1.22"
#define SERVICE_BINARY "nova-compute"
/* The version in the first record of a cloud: Zed's. */
#define SERVICE_COMPUTE_VERSION 64

struct nova_service {
	cJSON *object; /* as in messages, without nova_object.changes */
	cJSON *data;
};

static cJSON *class_args(const char *method, cJSON *args)
{
	static const struct {
		const char *name;
		const char *version;
	} versions[] = {
		{SERVICE_OBJECT, SERVICE_VERSION}, {"ComputeNode", "1.19"},  {"HVSpec", "1.2"},
		{"PciDevicePoolList", "1.1"},	   {"PciDevicePool", "1.1"},
	};
	cJSON *action = cJSON_CreateObject();
	cJSON *list;

	cJSON_AddStringToObject(action, "objname", SERVICE_OBJECT);
	cJSON_AddStringToObject(action, "objmethod", method);
	list = cJSON_AddObjectToObject(action, "object_versions");
	for (size_t i = 0; i < G_N_ELEMENTS(versions); i++)
		cJSON_AddStringToObject(list, versions[i].name, versions[i].version);
	cJSON_AddItemToObject(action, "args", args);
	cJSON_AddObjectToObject(action, "kwargs");
	return action;
}

static cJSON *call_class_method(struct rpc *rpc, struct rpc_context *context, const char *method,
				cJSON *args, GError **error)
{
	return nova_conductor_call(rpc, context, "object_class_action_versions",
				   class_args(method, args), "reading the service's record", error);
}

static struct nova_service *service_new(cJSON *object)
{
	struct nova_service *service = g_new0(struct nova_service, 1);

	service->object = object;
	cJSON_DeleteItemFromObjectCaseSensitive(object, "nova_object.changes");
	service->data = cJSON_GetObjectItemCaseSensitive(object, "nova_object.data");
	return service;
}

void nova_service_free(struct nova_service *service)
{
	if (!service)
		return;
	cJSON_Delete(service->object);
	g_free(service);
}

/* Calls a method of the record with its changed fields, and merges the updates in the reply. */
static int call_record_method(struct rpc *rpc, struct rpc_context *context,
			      struct nova_service *service, const char *method,
			      const char *const *changes, GError **error)
{
	cJSON *args = cJSON_CreateObject();
	cJSON *object = cJSON_Duplicate(service->object, true);
	cJSON *list = cJSON_AddArrayToObject(object, "nova_object.changes");
	const cJSON *updates, *update;
	cJSON *reply;

	for (; *changes; changes++)
		cJSON_AddItemToArray(list, cJSON_CreateString(*changes));
	cJSON_AddItemToObject(args, "objinst", object);
	cJSON_AddStringToObject(args, "objmethod", method);
	cJSON_AddArrayToObject(args, "args");
	cJSON_AddObjectToObject(args, "kwargs");
	reply = nova_conductor_call(rpc, context, "object_action", args,
				    "writing the service's record", error);
	if (!reply)
		return -1;
	updates = cJSON_GetArrayItem(reply, 0);
	if (cJSON_GetArraySize(updates) > NOVA_MAX_FIELDS)
		updates = NULL;
	cJSON_ArrayForEach (update, updates) {
		if (update->string && !g_str_equal(update->string, "obj_what_changed"))
			nova_put_member(service->data, update->string,
					cJSON_Duplicate(update, true));
	}
	cJSON_Delete(reply);
	return 0;
}

/* The lowest version of all compute services: a lower one would restrict the whole cloud. */
static int find_version(struct rpc *rpc, struct rpc_context *context)
{
	cJSON *args = cJSON_CreateArray();
	cJSON *reply;
	int version = 0;

	cJSON_AddItemToArray(args, cJSON_CreateString(SERVICE_BINARY));
	reply = call_class_method(rpc, context, "get_minimum_version", args, NULL);
	if (cJSON_IsNumber(reply))
		version = reply->valueint;
	cJSON_Delete(reply);
	return version > 0 ? version : SERVICE_COMPUTE_VERSION;
}

static struct nova_service *create_record(struct rpc *rpc, struct rpc_context *context,
					  const char *host, const char *topic, const char *reason,
					  GError **error)
{
	static const char *const changes[] = {
		"host",	   "binary",   "topic",		  "report_count",
		"version", "disabled", "disabled_reason", NULL};
	cJSON *data = cJSON_CreateObject();
	struct nova_service *service;

	cJSON_AddStringToObject(data, "host", host);
	cJSON_AddStringToObject(data, "binary", SERVICE_BINARY);
	cJSON_AddStringToObject(data, "topic", topic);
	cJSON_AddNumberToObject(data, "report_count", 0);
	cJSON_AddNumberToObject(data, "version", find_version(rpc, context));
	cJSON_AddTrueToObject(data, "disabled");
	cJSON_AddStringToObject(data, "disabled_reason", reason);
	service = service_new(nova_object_wrap(SERVICE_OBJECT, SERVICE_VERSION, data));
	if (call_record_method(rpc, context, service, "create", changes, error) == 0)
		return service;
	nova_service_free(service);
	return NULL;
}

struct nova_service *nova_service_take(struct rpc *rpc, struct rpc_context *context,
				       const char *host, const char *topic, const char *reason,
				       GError **error)
{
	cJSON *args = cJSON_CreateArray();
	cJSON *reply;

	cJSON_AddItemToArray(args, cJSON_CreateString(host));
	cJSON_AddItemToArray(args, cJSON_CreateString(SERVICE_BINARY));
	reply = call_class_method(rpc, context, "get_by_host_and_binary", args, error);
	if (!reply)
		return NULL;
	if (cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(reply, "nova_object.data")))
		return service_new(reply);
	cJSON_Delete(reply);
	return create_record(rpc, context, host, topic, reason, error);
}

bool nova_service_is_disabled(const struct nova_service *service)
{
	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(service->data, "disabled"));
}

int nova_service_disable(struct rpc *rpc, struct rpc_context *context, struct nova_service *service,
			 const char *reason, GError **error)
{
	static const char *const changes[] = {"disabled", "disabled_reason", NULL};

	nova_put_member(service->data, "disabled", cJSON_CreateTrue());
	nova_put_member(service->data, "disabled_reason", cJSON_CreateString(reason));
	return call_record_method(rpc, context, service, "save", changes, error);
}

int nova_service_report(struct rpc *rpc, struct rpc_context *context, struct nova_service *service,
			GError **error)
{
	static const char *const changes[] = {"report_count", NULL};
	int64_t count = 0;

	(void)json_int64(service->data, "report_count", &count);
	nova_put_member(service->data, "report_count", cJSON_CreateNumber((double)count + 1));
	return call_record_method(rpc, context, service, "save", changes, error);
}
