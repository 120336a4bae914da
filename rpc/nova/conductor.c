/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The calls to nova's conductor.
 */
#include "rpc/nova/conductor.h"

#include "rpc/json.h"
#include "rpc/nova/conductor-args.h"
#include "rpc/nova/instance-save.h"
#include "rpc/nova/value.h"

#define CONDUCTOR_TOPIC "conductor"
#define CONDUCTOR_VERSION "3.0"
#define CONDUCTOR_PLAIN_VERSION "1.38" /* of Grizzly, whose instances are dictionaries */

static cJSON *call_conductor(struct rpc *rpc, struct rpc_context *context, const char *method,
			     const char *version, cJSON *args, const char *action, GError **error)
{
	cJSON *reply = rpc_call(rpc, CONDUCTOR_TOPIC, context, method, version, args, 0, error);

	if (!reply)
		g_prefix_error(error, "%s: ", action);
	return reply;
}

cJSON *nova_conductor_call(struct rpc *rpc, struct rpc_context *context, const char *method,
			   cJSON *args, const char *action, GError **error)
{
	return call_conductor(rpc, context, method, CONDUCTOR_VERSION, args, action, error);
}

static int save_plain(struct rpc *rpc, struct rpc_context *context, struct nova_instance *instance,
		      const char *expected_task_state, GError **error)
{
	cJSON *reply = call_conductor(rpc, context, "instance_update", CONDUCTOR_PLAIN_VERSION,
				      nova_instance_update_args(instance, expected_task_state),
				      "saving the instance", error);

	if (!reply)
		return -1;
	nova_instance_forget_changes(instance);
	cJSON_Delete(reply);
	return 0;
}

static int restore_redacted(struct rpc *rpc, struct rpc_context *context,
			    struct nova_instance *instance, GError **error)
{
	cJSON *reply =
		call_conductor(rpc, context, "object_action", CONDUCTOR_VERSION,
			       nova_instance_refresh_args(instance), "reading the instance", error);
	int rc = reply ? nova_instance_restore_redacted(instance, reply, error) : -1;

	cJSON_Delete(reply);
	return rc;
}

int nova_conductor_instance_save(struct rpc *rpc, struct rpc_context *context,
				 struct nova_instance *instance, const char *expected_task_state,
				 GError **error)
{
	cJSON *reply;
	int rc;

	if (nova_instance_is_plain(instance))
		return save_plain(rpc, context, instance, expected_task_state, error);
	if (nova_instance_is_redacted(instance) &&
	    restore_redacted(rpc, context, instance, error) < 0)
		return -1;
	reply = call_conductor(rpc, context, "object_action", CONDUCTOR_VERSION,
			       nova_instance_save_args(instance, expected_task_state),
			       "saving the instance", error);
	if (!reply)
		return -1;
	rc = nova_instance_merge(instance, reply, error);
	cJSON_Delete(reply);
	return rc;
}

int nova_conductor_progress_save(struct rpc *rpc, struct rpc_context *context, const cJSON *object,
				 int percent, unsigned timeout_s, GError **error)
{
	cJSON *reply = rpc_call(rpc, CONDUCTOR_TOPIC, context, "object_action", CONDUCTOR_VERSION,
				nova_instance_progress_args(object, percent), timeout_s, error);

	if (!reply)
		g_prefix_error(error, "saving the instance's progress: ");
	cJSON_Delete(reply);
	return reply ? 0 : -1;
}

int nova_conductor_instance_refresh(struct rpc *rpc, struct rpc_context *context,
				    struct nova_instance *instance, GError **error)
{
	cJSON *reply =
		call_conductor(rpc, context, "object_action", CONDUCTOR_VERSION,
			       nova_instance_refresh_args(instance), "reading the instance", error);
	int rc = reply ? nova_instance_merge(instance, reply, error) : -1;

	cJSON_Delete(reply);
	return rc;
}

int nova_conductor_instance_load_flavor(struct rpc *rpc, struct rpc_context *context,
					const struct nova_release *release,
					struct nova_instance *instance, GError **error)
{
	g_autoptr(rpc_context_t) context_with_deleted = NULL;
	cJSON *fields;
	cJSON *reply;
	int rc;

	if (nova_instance_has_flavor(instance) || nova_instance_is_plain(instance))
		return 0;
	fields = cJSON_Duplicate(rpc_context_fields(context), true);
	nova_put_member(fields, "read_deleted", cJSON_CreateString("yes"));
	context_with_deleted = rpc_context_new(fields);
	reply = call_conductor(rpc, context_with_deleted, "object_class_action_versions",
			       CONDUCTOR_VERSION,
			       nova_load_flavor_args(release, nova_instance_uuid(instance)),
			       "reading the instance's flavor", error);
	if (!reply)
		return -1;
	rc = nova_instance_take_flavor(instance, reply, error);
	cJSON_Delete(reply);
	return rc;
}

int nova_conductor_instance_load_block_devices(struct rpc *rpc, struct rpc_context *context,
					       const struct nova_release *release,
					       struct nova_instance *instance, GError **error)
{
	cJSON *reply =
		call_conductor(rpc, context, "object_class_action_versions", CONDUCTOR_VERSION,
			       nova_load_block_devices_args(release, nova_instance_uuid(instance)),
			       "reading the instance's block devices", error);
	int rc = reply ? nova_instance_take_block_devices(instance, reply, error) : -1;

	cJSON_Delete(reply);
	return rc;
}

int nova_conductor_instance_load_shares(struct rpc *rpc, struct rpc_context *context,
					const struct nova_release *release,
					struct nova_instance *instance, GError **error)
{
	cJSON *reply =
		call_conductor(rpc, context, "object_class_action_versions", CONDUCTOR_VERSION,
			       nova_load_shares_args(release, nova_instance_uuid(instance)),
			       "reading the instance's shares", error);
	int rc = reply ? nova_instance_take_shares(instance, reply, error) : -1;

	cJSON_Delete(reply);
	return rc;
}

static int call_without_result(struct rpc *rpc, struct rpc_context *context, const char *method,
			       cJSON *args, const char *action, GError **error)
{
	cJSON *reply = call_conductor(rpc, context, method, CONDUCTOR_VERSION, args, action, error);

	cJSON_Delete(reply);
	return reply ? 0 : -1;
}

int nova_conductor_event_start(struct rpc *rpc, struct rpc_context *context,
			       const struct nova_release *release, const char *uuid,
			       const char *event, const char *host, GError **error)
{
	return call_without_result(rpc, context, "object_class_action_versions",
				   nova_event_start_args(release, uuid, event, host),
				   "starting the action's event", error);
}

int nova_conductor_event_finish(struct rpc *rpc, struct rpc_context *context,
				const struct nova_release *release, const char *uuid,
				const char *event, const char *exc_val, const char *exc_tb,
				GError **error)
{
	return call_without_result(rpc, context, "object_class_action_versions",
				   nova_event_finish_args(release, uuid, event, exc_val, exc_tb),
				   "finishing the action's event", error);
}

static int find_event(const cJSON *list, const char *name, GError **error)
{
	const cJSON *events = cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(list, "nova_object.data"), "objects");
	const cJSON *object;
	int found = NOVA_EVENT_NONE;

	if (!cJSON_IsArray(events))
		return nova_decode_error(error, "the conductor's reply to InstanceActionEventList."
						"get_by_action is not a list");
	cJSON_ArrayForEach (object, events) {
		const cJSON *event = cJSON_GetObjectItemCaseSensitive(object, "nova_object.data");

		if (g_strcmp0(json_string(event, "event"), name) != 0)
			continue;
		if (g_strcmp0(json_string(event, "result"), "Error") != 0)
			return NOVA_EVENT_LIVE;
		found = NOVA_EVENT_FAILED;
	}
	return found;
}

int nova_conductor_event_find(struct rpc *rpc, struct rpc_context *context,
			      const struct nova_release *release, const char *uuid,
			      const char *event, GError **error)
{
	const char *request_id = rpc_context_string(context, "request_id");
	cJSON *reply, *data;
	int64_t id;
	int found;

	/* nova-api records the action of each request. */
	if (!request_id)
		return NOVA_EVENT_NONE;
	reply = call_conductor(rpc, context, "object_class_action_versions", CONDUCTOR_VERSION,
			       nova_find_action_args(release, uuid, request_id),
			       "reading the instance's action", error);
	if (!reply)
		return -1;
	data = cJSON_GetObjectItemCaseSensitive(reply, "nova_object.data");
	if (cJSON_IsNull(reply) || !json_int64(data, "id", &id)) {
		found = cJSON_IsNull(reply)
				? NOVA_EVENT_NONE
				: nova_decode_error(error, "the conductor's reply to InstanceAction"
							   ".get_by_request_id is not an action");
		cJSON_Delete(reply);
		return found;
	}
	cJSON_Delete(reply);
	reply = call_conductor(rpc, context, "object_class_action_versions", CONDUCTOR_VERSION,
			       nova_list_events_args(release, id),
			       "listing the events of the instance's action", error);
	found = reply ? find_event(reply, event, error) : -1;
	cJSON_Delete(reply);
	return found;
}

int nova_conductor_fault_create(struct rpc *rpc, struct rpc_context *context, const char *uuid,
				int code, const char *message, const char *details,
				const char *host, GError **error)
{
	return call_without_result(rpc, context, "object_action",
				   nova_fault_args(uuid, code, message, details, host),
				   "creating the instance's fault", error);
}

/* Whether the fault was created at that time or later. True if its time cannot be read. */
static bool is_fault_since(const cJSON *fault, gint64 since)
{
	const char *text = json_string(fault, "created_at");
	g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
	g_autoptr(GDateTime) created = text ? g_date_time_new_from_iso8601(text, utc) : NULL;

	return !created || g_date_time_to_unix(created) >= since;
}

int nova_conductor_fault_exists(struct rpc *rpc, struct rpc_context *context,
				const struct nova_release *release, const char *uuid, int code,
				const char *message, const char *host, gint64 since, GError **error)
{
	cJSON *reply = call_conductor(rpc, context, "object_class_action_versions",
				      CONDUCTOR_VERSION, nova_list_faults_args(release, uuid),
				      "listing the instance's faults", error);
	const cJSON *faults = cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(reply, "nova_object.data"), "objects");
	const cJSON *object;
	int found = 0;

	if (!reply)
		return -1;
	if (!cJSON_IsArray(faults))
		found = nova_decode_error(error, "the conductor's reply to InstanceFaultList."
						 "get_by_instance_uuids is not a list");
	cJSON_ArrayForEach (object, faults) {
		const cJSON *fault = cJSON_GetObjectItemCaseSensitive(object, "nova_object.data");
		int64_t fault_code;

		if (json_int64(fault, "code", &fault_code) && fault_code == code &&
		    g_strcmp0(json_string(fault, "message"), message) == 0 &&
		    g_strcmp0(json_string(fault, "host"), host) == 0 &&
		    is_fault_since(fault, since))
			found = 1;
	}
	cJSON_Delete(reply);
	return found;
}
