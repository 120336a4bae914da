/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The payloads of nova's notifications, in both formats: nova.notifications.base.info_from_instance
 * and nova.notifications.objects.instance.InstanceActionSnapshotPayload.
 */
#include <string.h>

#include "rpc/json.h"
#include "rpc/nova-internal.h"

#define IMAGE_PREFIX "image_"

static const cJSON *member(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

static void add_copy(cJSON *to, const char *name, const cJSON *from, const char *field)
{
	cJSON_AddItemToObject(to, name, nova_copy_member(from, field));
}

static void add_copies(cJSON *to, const cJSON *from, const char *const *fields)
{
	for (; *fields; fields++)
		add_copy(to, *fields, from, *fields);
}

/* "2026-11-23T04:24:38Z" to the other forms that Python gives the same instant. */
static char *convert_time(const char *text, char separator, const char *tail)
{
	size_t length = strlen(text);
	char *converted;

	if (length != strlen("2026-11-23T04:24:38Z") || text[length - 1] != 'Z')
		return g_strdup(text);
	converted = g_strdup_printf("%.*s%s", (int)length - 1, text, tail);
	converted[strlen("2026-11-23")] = separator;
	return converted;
}

static void add_time(cJSON *to, const cJSON *data, const char *field, char separator,
		     const char *tail)
{
	const char *text = json_string(data, field);
	g_autofree char *converted = text ? convert_time(text, separator, tail) : g_strdup("");

	cJSON_AddStringToObject(to, field, converted);
}

static void add_text_or_empty(cJSON *to, const char *name, const cJSON *data, const char *field)
{
	const char *text = json_string(data, field);

	cJSON_AddStringToObject(to, name, text ? text : "");
}

/* nova's null_safe_str of a number: 0 is nothing. */
static void add_progress(cJSON *to, const cJSON *data)
{
	g_autofree char *text = NULL;
	int64_t progress;

	if (json_int64(data, "progress", &progress) && progress != 0)
		text = g_strdup_printf("%" G_GINT64_FORMAT, progress);
	cJSON_AddStringToObject(to, "progress", text ? text : "");
}

static void add_image_meta(cJSON *to, const cJSON *data)
{
	cJSON *meta = cJSON_AddObjectToObject(to, "image_meta");
	const cJSON *item;

	cJSON_ArrayForEach (item, member(data, "system_metadata")) {
		if (g_str_has_prefix(item->string, IMAGE_PREFIX))
			cJSON_AddItemToObject(meta, item->string + strlen(IMAGE_PREFIX),
					      cJSON_Duplicate(item, true));
	}
}

static const cJSON *flavor_data(const cJSON *data)
{
	return member(member(data, "flavor"), "nova_object.data");
}

cJSON *nova_legacy_payload(const struct nova_instance *instance, const char *image_location)
{
	static const char *const placed[] = {"host", "node", "availability_zone", NULL};
	static const char *const ids[] = {"os_type", "kernel_id", "ramdisk_id", NULL};
	const cJSON *data = nova_instance_data(instance);
	const cJSON *flavor = flavor_data(data);
	const char *image_ref = json_string(data, "image_ref");
	g_autofree char *url = g_strdup_printf("%s/images/%s", image_location ? image_location : "",
					       image_ref ? image_ref : "");
	cJSON *payload = cJSON_CreateObject();
	int64_t root_gb = 0, ephemeral_gb = 0;

	add_copy(payload, "tenant_id", data, "project_id");
	add_copy(payload, "user_id", data, "user_id");
	add_copy(payload, "instance_id", data, "uuid");
	add_copy(payload, "display_name", data, "display_name");
	add_copy(payload, "reservation_id", data, "reservation_id");
	add_copy(payload, "hostname", data, "hostname");
	add_copy(payload, "instance_type", flavor, "name");
	add_copy(payload, "instance_type_id", flavor ? flavor : data,
		 flavor ? "id" : "instance_type_id");
	add_copy(payload, "instance_flavor_id", flavor, "flavorid");
	add_copy(payload, "architecture", data, "architecture");
	add_copy(payload, "memory_mb", flavor ? flavor : data, "memory_mb");
	(void)json_int64(flavor ? flavor : data, "root_gb", &root_gb);
	(void)json_int64(flavor ? flavor : data, "ephemeral_gb", &ephemeral_gb);
	cJSON_AddNumberToObject(payload, "disk_gb", (double)(root_gb + ephemeral_gb));
	add_copy(payload, "vcpus", flavor ? flavor : data, "vcpus");
	cJSON_AddNumberToObject(payload, "root_gb", (double)root_gb);
	cJSON_AddNumberToObject(payload, "ephemeral_gb", (double)ephemeral_gb);
	add_copies(payload, data, placed);
	add_text_or_empty(payload, "cell_name", data, "cell_name");
	add_time(payload, data, "created_at", ' ', "+00:00");
	add_time(payload, data, "terminated_at", 'T', ".000000");
	add_time(payload, data, "deleted_at", 'T', ".000000");
	add_time(payload, data, "launched_at", 'T', ".000000");
	cJSON_AddStringToObject(payload, "image_ref_url", url);
	add_copies(payload, data, ids);
	add_copy(payload, "state", data, "vm_state");
	add_text_or_empty(payload, "state_description", data, "task_state");
	add_progress(payload, data);
	add_copy(payload, "access_ip_v4", data, "access_ip_v4");
	add_copy(payload, "access_ip_v6", data, "access_ip_v6");
	add_image_meta(payload, data);
	add_copy(payload, "metadata", data, "metadata");
	return payload;
}

static cJSON *flavor_payload(const cJSON *data)
{
	static const char *const fields[] = {
		"flavorid",  "memory_mb",   "vcpus",	   "root_gb",	  "ephemeral_gb",
		"name",	     "swap",	    "rxtx_factor", "vcpu_weight", "disabled",
		"is_public", "extra_specs", "projects",	   "description", NULL};
	const cJSON *flavor = flavor_data(data);
	cJSON *copy;

	if (!flavor)
		return cJSON_CreateNull();
	copy = cJSON_CreateObject();
	add_copies(copy, flavor, fields);
	return nova_object_wrap("FlavorPayload", "1.4", copy);
}

static cJSON *ip_payload(const cJSON *vif, const cJSON *network, const cJSON *ip)
{
	cJSON *data = cJSON_CreateObject();

	add_copy(data, "label", network, "label");
	add_copy(data, "mac", vif, "address");
	add_copy(data, "meta", ip, "meta");
	add_copy(data, "port_uuid", vif, "id");
	add_copy(data, "version", ip, "version");
	add_copy(data, "address", ip, "address");
	add_copy(data, "device_name", vif, "devname");
	return nova_object_wrap("IpPayload", "1.0", data);
}

/* IpPayload.from_network_info, of the info cache's network_info, a JSON text within the JSON. */
static cJSON *ip_addresses(const cJSON *data)
{
	const char *text =
		json_string(member(member(data, "info_cache"), "nova_object.data"), "network_info");
	cJSON *network_info = text ? json_parse(text, strlen(text), NULL) : NULL;
	cJSON *addresses = cJSON_CreateArray();
	const cJSON *vif, *subnet, *ip;

	cJSON_ArrayForEach (vif, network_info) {
		const cJSON *network = member(vif, "network");

		cJSON_ArrayForEach (subnet, member(network, "subnets")) {
			cJSON_ArrayForEach (ip, member(subnet, "ips")) {
				cJSON_AddItemToArray(addresses, ip_payload(vif, network, ip));
			}
		}
	}
	cJSON_Delete(network_info);
	return addresses;
}

static const char *power_state_name(const cJSON *data)
{
	static const struct {
		int64_t state;
		const char *name;
	} names[] = {
		{0, "pending"},	 {1, "running"}, {3, "paused"},
		{4, "shutdown"}, {6, "crashed"}, {7, "suspended"},
	};
	int64_t state;

	if (!json_int64(data, "power_state", &state))
		return NULL;
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		if (names[i].state == state)
			return names[i].name;
	}
	return NULL;
}

static void add_string(cJSON *to, const char *name, const char *text)
{
	cJSON_AddItemToObject(to, name, text ? cJSON_CreateString(text) : cJSON_CreateNull());
}

cJSON *nova_versioned_payload(const struct nova_instance *instance,
			      const struct rpc_context *context, const char *image_id)
{
	static const char *const named[] = {"display_name", "display_description", NULL};
	static const char *const placed[] = {
		"host", "node", "os_type", "architecture", "availability_zone", NULL};
	static const char *const times[] = {"created_at", "launched_at", "terminated_at",
					    "deleted_at", "updated_at",	 NULL};
	static const char *const keys[] = {"key_name", "kernel_id", "ramdisk_id", NULL};
	const cJSON *data = nova_instance_data(instance);
	cJSON *payload = cJSON_CreateObject();

	cJSON_AddStringToObject(payload, "snapshot_image_id", image_id);
	cJSON_AddNullToObject(payload, "fault");
	add_string(payload, "request_id", rpc_context_string(context, "request_id"));
	add_copy(payload, "uuid", data, "uuid");
	add_copy(payload, "user_id", data, "user_id");
	add_copy(payload, "tenant_id", data, "project_id");
	add_copy(payload, "reservation_id", data, "reservation_id");
	add_copies(payload, data, named);
	add_copy(payload, "host_name", data, "hostname");
	add_copies(payload, data, placed);
	cJSON_AddItemToObject(payload, "flavor", flavor_payload(data));
	add_copy(payload, "image_uuid", data, "image_ref");
	add_copies(payload, data, keys);
	add_copies(payload, data, times);
	add_copy(payload, "state", data, "vm_state");
	add_string(payload, "power_state", power_state_name(data));
	add_copy(payload, "task_state", data, "task_state");
	add_copy(payload, "progress", data, "progress");
	cJSON_AddItemToObject(payload, "ip_addresses", ip_addresses(data));
	cJSON_AddNullToObject(payload, "block_devices");
	add_copy(payload, "metadata", data, "metadata");
	add_copy(payload, "locked", data, "locked");
	cJSON_AddStringToObject(payload, "auto_disk_config",
				cJSON_IsTrue(member(data, "auto_disk_config")) ? "AUTO" : "MANUAL");
	add_string(payload, "action_initiator_user", rpc_context_string(context, "user_id"));
	add_string(payload, "action_initiator_project", rpc_context_string(context, "project_id"));
	add_string(payload, "locked_reason",
		   json_string(member(data, "system_metadata"), "locked_reason"));
	return nova_object_wrap("InstanceActionSnapshotPayload", "1.9", payload);
}

/* jsonutils.to_primitive of an object: its data alone, objects within it likewise, and times in
 * Python's isoformat. */
static cJSON *flatten(const cJSON *item)
{
	const cJSON *data = cJSON_IsObject(item) ? member(item, "nova_object.data") : NULL;
	const cJSON *child;
	cJSON *copy;

	if (data)
		return flatten(data);
	if (cJSON_IsString(item)) {
		g_autofree char *text = convert_time(item->valuestring, 'T', ".000000");

		return cJSON_CreateString(text);
	}
	if (!cJSON_IsObject(item) && !cJSON_IsArray(item))
		return cJSON_Duplicate(item, true);
	copy = cJSON_IsObject(item) ? cJSON_CreateObject() : cJSON_CreateArray();
	cJSON_ArrayForEach (child, item) {
		if (child->string)
			cJSON_AddItemToObject(copy, child->string, flatten(child));
		else
			cJSON_AddItemToArray(copy, flatten(child));
	}
	return copy;
}

cJSON *nova_legacy_exception_payload(const struct nova_exception *exception, const cJSON *args)
{
	cJSON *payload = cJSON_CreateObject();

	cJSON_AddStringToObject(payload, "exception", exception->message);
	cJSON_AddItemToObject(payload, "args", flatten(args));
	return payload;
}

cJSON *nova_versioned_exception_payload(const struct nova_exception *exception)
{
	cJSON *data = cJSON_CreateObject();

	cJSON_AddStringToObject(data, "module_name", exception->module);
	cJSON_AddStringToObject(data, "function_name", exception->function);
	cJSON_AddStringToObject(data, "exception", exception->class_name);
	cJSON_AddStringToObject(data, "exception_message", exception->message);
	cJSON_AddStringToObject(data, "traceback", exception->message);
	return nova_object_wrap("ExceptionPayload", "1.1", data);
}
