/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nova's record of a compute service (nova.objects.service.Service), maintained as nova.service and
 * nova.servicegroup.drivers.db do.
 */
#include <limits.h>

#include "rpc/json.h"
#include "rpc/limits.h"
#include "rpc/nova/conductor.h"
#include "rpc/nova/value.h"

#define SERVICE_OBJECT "Service"
#define SERVICE_VERSION "1.22"
#define SERVICE_BINARY "nova-compute"
#define SERVICE_LIST_OBJECT "ServiceList"

struct nova_service {
	cJSON *object; /* as in messages, without nova_object.changes */
	cJSON *data;
};

static cJSON *class_args(const char *object, const char *method, cJSON *args)
{
	static const struct {
		const char *name;
		const char *version;
	} versions[] = {
		{SERVICE_LIST_OBJECT, "1.19"}, {SERVICE_OBJECT, SERVICE_VERSION},
		{"ComputeNode", "1.19"},       {"HVSpec", "1.2"},
		{"PciDevicePoolList", "1.1"},  {"PciDevicePool", "1.1"},
	};
	cJSON *action = cJSON_CreateObject();
	cJSON *list;

	cJSON_AddStringToObject(action, "objname", object);
	cJSON_AddStringToObject(action, "objmethod", method);
	list = cJSON_AddObjectToObject(action, "object_versions");
	/* As nova does, the versions of the object and of those that it contains. */
	for (size_t i = g_str_equal(object, SERVICE_LIST_OBJECT) ? 0 : 1;
	     i < G_N_ELEMENTS(versions); i++)
		cJSON_AddStringToObject(list, versions[i].name, versions[i].version);
	cJSON_AddItemToObject(action, "args", args);
	cJSON_AddObjectToObject(action, "kwargs");
	return action;
}

static cJSON *call_class_method(struct rpc *rpc, struct rpc_context *context, const char *object,
				const char *method, cJSON *args, GError **error)
{
	return nova_conductor_call(rpc, context, "object_class_action_versions",
				   class_args(object, method, args), "reading the service's record",
				   error);
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

/* Returns the record of the host's nova-compute, or a JSON null if there is none. The caller
 * deletes it. NULL with an error. */
static cJSON *query_record(struct rpc *rpc, struct rpc_context *context, const char *host,
			   GError **error)
{
	cJSON *args = cJSON_CreateArray();
	cJSON *reply;

	cJSON_AddItemToArray(args, cJSON_CreateString(host));
	cJSON_AddItemToArray(args, cJSON_CreateString(SERVICE_BINARY));
	reply = call_class_method(rpc, context, SERVICE_OBJECT, "get_by_host_and_binary", args,
				  error);
	if (!reply || cJSON_IsNull(reply) ||
	    cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(reply, "nova_object.data")))
		return reply;
	cJSON_Delete(reply);
	(void)nova_decode_error(error, "the reply to a query for the service's record is neither a "
				       "record nor null");
	return NULL;
}

/* The highest version in the records of nova's services, which the newest of them has written.
 * Every service writes the version of its release (nova.objects.service.SERVICE_VERSION), and
 * refuses to start if a compute service has one that is too old. 0: there are no records. */
static int newest_version(const cJSON *services)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(services, "nova_object.data"), "objects");
	const cJSON *service;
	int64_t newest = 0;

	cJSON_ArrayForEach (service, list) {
		int64_t version = 0;

		(void)json_int64(cJSON_GetObjectItemCaseSensitive(service, "nova_object.data"),
				 "version", &version);
		newest = MAX(newest, version);
	}
	return newest <= INT_MAX ? (int)newest : 0;
}

static int find_version(struct rpc *rpc, struct rpc_context *context, int *ret_version,
			GError **error)
{
	cJSON *services = call_class_method(rpc, context, SERVICE_LIST_OBJECT, "get_all",
					    cJSON_CreateArray(), error);

	if (!services)
		return -1;
	*ret_version = newest_version(services);
	cJSON_Delete(services);
	if (*ret_version > 0)
		return 0;
	g_set_error_literal(
		error, RPC_ERROR, RPC_ERROR_FAILED,
		"nova has no record of this host's nova-compute, and no other service's record "
		"shows the version of its release; start nova-compute or nova-conductor with this "
		"database first");
	return -1;
}

int nova_conductor_service_version(struct rpc *rpc, struct rpc_context *context, const char *host,
				   int *ret_version, GError **error)
{
	cJSON *record = query_record(rpc, context, host, error);
	int64_t version = 0;

	if (!record)
		return -1;
	(void)json_int64(cJSON_GetObjectItemCaseSensitive(record, "nova_object.data"), "version",
			 &version);
	cJSON_Delete(record);
	if (version <= 0 || version > INT_MAX)
		return find_version(rpc, context, ret_version, error);
	*ret_version = (int)version;
	return 0;
}

static struct nova_service *create_record(struct rpc *rpc, struct rpc_context *context,
					  const char *host, const char *topic, const char *reason,
					  GError **error)
{
	static const char *const changes[] = {
		"host",	   "binary",   "topic",		  "report_count",
		"version", "disabled", "disabled_reason", NULL};
	struct nova_service *service;
	cJSON *data;
	int version;

	if (find_version(rpc, context, &version, error) < 0)
		return NULL;
	data = cJSON_CreateObject();
	cJSON_AddStringToObject(data, "host", host);
	cJSON_AddStringToObject(data, "binary", SERVICE_BINARY);
	cJSON_AddStringToObject(data, "topic", topic);
	cJSON_AddNumberToObject(data, "report_count", 0);
	cJSON_AddNumberToObject(data, "version", version);
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
	cJSON *record = query_record(rpc, context, host, error);

	if (!record)
		return NULL;
	if (cJSON_IsObject(record))
		return service_new(record);
	cJSON_Delete(record);
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
