/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The payloads of instance.<action>.start and .end and of instance.exists, and their nested
 * objects.
 */
#include "rpc/nova/payload-versioned.h"

#include <string.h>

#include "rpc/json.h"
#include "rpc/limits.h"
#include "rpc/nova/instance.h"
#include "rpc/nova/value.h"

/* A field of a payload, and the source field that is copied to it. */
struct copied_field {
	const char *name;
	const char *source;
};

static void add_copied_fields(cJSON *to, const cJSON *from, const struct copied_field *fields)
{
	for (; fields->name; fields++)
		cJSON_AddItemToObject(to, fields->name, nova_copy_member(from, fields->source));
}

/* A BooleanField: false if it has no value. */
static void add_boolean_field(cJSON *to, const char *name, const cJSON *from)
{
	cJSON_AddBoolToObject(to, name, cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(from, name)));
}

/* A payload object with the version of the release. Takes ownership of `data`. */
static cJSON *wrap_payload(const struct nova_payload_kind *kind, const char *name, cJSON *data)
{
	return nova_object_wrap(name, nova_release_object_version(kind->release, name), data);
}

static cJSON *flavor_payload(const struct nova_payload_kind *kind, const cJSON *instance)
{
	static const struct copied_field sizes[] = {
		{"memory_mb", "memory_mb"},	  {"vcpus", "vcpus"}, {"root_gb", "root_gb"},
		{"ephemeral_gb", "ephemeral_gb"}, {NULL, NULL},
	};
	static const struct copied_field weights[] = {
		{"rxtx_factor", "rxtx_factor"},
		{"vcpu_weight", "vcpu_weight"},
		{NULL, NULL},
	};
	static const struct copied_field rest[] = {
		{"extra_specs", "extra_specs"},
		{"projects", "projects"},
		{"description", "description"},
		{NULL, NULL},
	};
	const cJSON *flavor = nova_member_data(instance, "flavor");
	const char *name = json_string(flavor, "name");
	cJSON *data = cJSON_CreateObject();
	int64_t swap;

	cJSON_AddItemToObject(data, "flavorid", nova_copy_member(flavor, "flavorid"));
	/* Without a flavor: the instance's own fields, which are older than flavors. */
	add_copied_fields(data, flavor ? flavor : instance, sizes);
	cJSON_AddStringToObject(data, "name", name ? name : "");
	if (json_int64(flavor, "swap", &swap))
		cJSON_AddItemToObject(data, "swap", nova_copy_member(flavor, "swap"));
	else
		cJSON_AddNumberToObject(data, "swap", 0);
	add_copied_fields(data, flavor, weights);
	add_boolean_field(data, "disabled", flavor);
	add_boolean_field(data, "is_public", flavor);
	add_copied_fields(data, flavor, rest);
	return wrap_payload(kind, "FlavorPayload", data);
}

/* A DictOfStringsField: values that are not strings are converted as Python's str does. */
static cJSON *dict_of_strings(const cJSON *dict)
{
	cJSON *copy = cJSON_CreateObject();
	const cJSON *item;
	double number;

	cJSON_ArrayForEach (item, dict) {
		if (!item->string)
			continue;
		if (cJSON_IsBool(item)) {
			cJSON_AddStringToObject(copy, item->string,
						cJSON_IsTrue(item) ? "True" : "False");
		} else if (json_number(item, &number)) {
			char *text = json_print(item);

			cJSON_AddStringToObject(copy, item->string, text);
			cJSON_free(text);
		} else if (cJSON_IsString(item)) {
			cJSON_AddStringToObject(copy, item->string, item->valuestring);
		}
	}
	return copy;
}

/* A MACAddressField. */
static void add_mac(cJSON *to, const cJSON *vif)
{
	const char *address = json_string(vif, "address");
	g_autofree char *mac = address ? g_ascii_strdown(address, -1) : NULL;

	cJSON_AddItemToObject(to, "mac",
			      mac ? cJSON_CreateString(g_strdelimit(mac, "-", ':'))
				  : cJSON_CreateNull());
}

static cJSON *ip_payload(const struct nova_payload_kind *kind, const cJSON *vif,
			 const cJSON *network, const cJSON *ip)
{
	static const struct copied_field of_ip[] = {
		{"version", "version"},
		{"address", "address"},
		{NULL, NULL},
	};
	cJSON *data = cJSON_CreateObject();

	cJSON_AddItemToObject(data, "label", nova_copy_member(network, "label"));
	add_mac(data, vif);
	cJSON_AddItemToObject(data, "meta",
			      dict_of_strings(cJSON_GetObjectItemCaseSensitive(vif, "meta")));
	cJSON_AddItemToObject(data, "port_uuid", nova_copy_member(vif, "id"));
	add_copied_fields(data, ip, of_ip);
	cJSON_AddItemToObject(data, "device_name", nova_copy_member(vif, "devname"));
	return wrap_payload(kind, "IpPayload", data);
}

/* The data that all addresses of an interface share is repeated for each of them, so it must be
 * short: many addresses with a long shared text would not fit into memory. */
static bool has_short_payload(const struct nova_payload_kind *kind, const cJSON *vif,
			      const cJSON *network)
{
	cJSON *payload = ip_payload(kind, vif, network, NULL);
	char *text = json_print(payload);
	bool is_short = strlen(text) <= NOVA_MAX_ADDRESS_BYTES;

	cJSON_free(text);
	cJSON_Delete(payload);
	return is_short;
}

/* Adds the addresses of an interface, up to the limit. `count` counts all addresses added so
 * far. */
static void add_addresses(const struct nova_payload_kind *kind, cJSON *addresses, const cJSON *vif,
			  unsigned *count)
{
	const cJSON *network = cJSON_GetObjectItemCaseSensitive(vif, "network");
	const cJSON *subnet, *ip;

	if (*count >= NOVA_MAX_ADDRESSES || !has_short_payload(kind, vif, network))
		return;
	cJSON_ArrayForEach (subnet, cJSON_GetObjectItemCaseSensitive(network, "subnets")) {
		cJSON_ArrayForEach (ip, cJSON_GetObjectItemCaseSensitive(subnet, "ips")) {
			if ((*count)++ >= NOVA_MAX_ADDRESSES)
				return;
			cJSON_AddItemToArray(addresses, ip_payload(kind, vif, network, ip));
		}
	}
}

/* IpPayload.from_network_info; the info cache contains network_info as JSON text. */
static cJSON *ip_addresses(const struct nova_payload_kind *kind, const cJSON *instance)
{
	const char *text = json_string(nova_member_data(instance, "info_cache"), "network_info");
	cJSON *network_info = text ? json_parse(text, strlen(text), NULL) : NULL;
	cJSON *addresses = cJSON_CreateArray();
	const cJSON *vif;
	unsigned count = 0;

	cJSON_ArrayForEach (vif, network_info)
		add_addresses(kind, addresses, vif, &count);
	cJSON_Delete(network_info);
	return addresses;
}

/* nova.objects.fields.InstancePowerState. */
static const char *power_state_name(const cJSON *instance)
{
	static const char *const names[] = {"pending",	"running", "_unused", "paused",
					    "shutdown", "_unused", "crashed", "suspended"};
	int64_t state;

	if (!json_int64(instance, "power_state", &state) || state < 0 ||
	    state >= (int64_t)G_N_ELEMENTS(names))
		return NULL;
	return names[state];
}

/* BlockDevicePayload.from_bdms: only volumes. */
static cJSON *block_devices(const struct nova_payload_kind *kind,
			    const struct nova_instance *instance)
{
	static const struct copied_field of_device[] = {
		{"device_name", "device_name"},
		{"boot_index", "boot_index"},
		{"delete_on_termination", "delete_on_termination"},
		{"volume_id", "volume_id"},
		{"tag", "tag"},
		{NULL, NULL},
	};
	const cJSON *devices = nova_instance_block_devices(instance);
	const cJSON *device;
	cJSON *payloads;

	if (!devices)
		return cJSON_CreateNull();
	payloads = cJSON_CreateArray();
	cJSON_ArrayForEach (device, devices) {
		cJSON *data;

		if (!json_string(device, "volume_id"))
			continue;
		data = cJSON_CreateObject();
		add_copied_fields(data, device, of_device);
		cJSON_AddItemToArray(payloads, wrap_payload(kind, "BlockDevicePayload", data));
	}
	return payloads;
}

/* SharePayload.from_instance. A null if the shares are not known, too. */
static cJSON *share_payloads(const struct nova_payload_kind *kind,
			     const struct nova_instance *instance)
{
	static const struct copied_field of_share[] = {
		{"share_mapping_uuid", "uuid"},
		{"share_id", "share_id"},
		{"status", "status"},
		{"tag", "tag"},
		{NULL, NULL},
	};
	const cJSON *shares = kind->includes_shares ? nova_instance_shares(instance) : NULL;
	const cJSON *share;
	cJSON *payloads;

	if (!shares)
		return cJSON_CreateNull();
	payloads = cJSON_CreateArray();
	cJSON_ArrayForEach (share, shares) {
		cJSON *data = cJSON_CreateObject();

		add_copied_fields(data, share, of_share);
		cJSON_AddItemToArray(payloads, wrap_payload(kind, "SharePayload", data));
	}
	return payloads;
}

/* The fields that all payloads of an instance have (InstancePayload). */
static void add_instance_fields(const struct nova_payload_kind *kind, cJSON *payload,
				const struct nova_instance *instance,
				const struct rpc_context *context)
{
	static const struct copied_field before_flavor[] = {
		{"uuid", "uuid"},
		{"user_id", "user_id"},
		{"tenant_id", "project_id"},
		{"reservation_id", "reservation_id"},
		{"display_name", "display_name"},
		{"display_description", "display_description"},
		{"host_name", "hostname"},
		{"host", "host"},
		{"node", "node"},
		{"os_type", "os_type"},
		{"architecture", "architecture"},
		{"availability_zone", "availability_zone"},
		{NULL, NULL},
	};
	static const struct copied_field after_flavor[] = {
		{"image_uuid", "image_ref"},
		{"key_name", "key_name"},
		{"kernel_id", "kernel_id"},
		{"ramdisk_id", "ramdisk_id"},
		{"created_at", "created_at"},
		{"launched_at", "launched_at"},
		{"terminated_at", "terminated_at"},
		{"deleted_at", "deleted_at"},
		{"updated_at", "updated_at"},
		{"state", "vm_state"},
		{NULL, NULL},
	};
	static const struct copied_field after_power_state[] = {
		{"task_state", "task_state"},
		{"progress", "progress"},
		{NULL, NULL},
	};
	const cJSON *data = nova_instance_data(instance);
	const char *user = rpc_context_string(context, "user_id");
	const char *project = rpc_context_string(context, "project_id");

	nova_add_text(payload, "request_id",
		      user && project ? rpc_context_string(context, "request_id") : NULL);
	add_copied_fields(payload, data, before_flavor);
	cJSON_AddItemToObject(payload, "flavor", flavor_payload(kind, data));
	add_copied_fields(payload, data, after_flavor);
	nova_add_text(payload, "power_state", power_state_name(data));
	add_copied_fields(payload, data, after_power_state);
	cJSON_AddItemToObject(payload, "ip_addresses", ip_addresses(kind, data));
	cJSON_AddItemToObject(payload, "block_devices", block_devices(kind, instance));
	cJSON_AddItemToObject(payload, "metadata",
			      dict_of_strings(cJSON_GetObjectItemCaseSensitive(data, "metadata")));
	add_boolean_field(payload, "locked", data);
	cJSON_AddStringToObject(
		payload, "auto_disk_config",
		cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(data, "auto_disk_config"))
			? "AUTO"
			: "MANUAL");
	nova_add_text(payload, "action_initiator_user", user);
	nova_add_text(payload, "action_initiator_project", project);
	if (nova_release_has(kind->release, NOVA_HABIT_LOCKED_REASON))
		nova_add_text(payload, "locked_reason",
			      nova_instance_system_metadata(instance, "locked_reason"));
	if (nova_release_has(kind->release, NOVA_HABIT_SHARES))
		cJSON_AddItemToObject(payload, "shares", share_payloads(kind, instance));
}

cJSON *nova_versioned_payload(const struct nova_payload_kind *kind,
			      const struct nova_instance *instance,
			      const struct rpc_context *context, const char *image_id)
{
	cJSON *payload = cJSON_CreateObject();

	if (image_id)
		nova_add_text(payload, "snapshot_image_id", image_id);
	cJSON_AddNullToObject(payload, "fault");
	add_instance_fields(kind, payload, instance, context);
	return wrap_payload(kind,
			    image_id ? "InstanceActionSnapshotPayload" : "InstanceActionPayload",
			    payload);
}

static void add_utc_time(cJSON *to, const char *name, GDateTime *time)
{
	g_autofree char *text = g_date_time_format(time, "%Y-%m-%dT%H:%M:%SZ");

	cJSON_AddStringToObject(to, name, text);
}

cJSON *nova_versioned_exists_payload(const struct nova_payload_kind *kind,
				     const struct nova_instance *instance,
				     const struct rpc_context *context, GDateTime *from,
				     GDateTime *to)
{
	cJSON *payload = cJSON_CreateObject();
	cJSON *period = cJSON_CreateObject();

	add_utc_time(period, "audit_period_beginning", from);
	add_utc_time(period, "audit_period_ending", to);
	cJSON_AddItemToObject(payload, "audit_period",
			      wrap_payload(kind, "AuditPeriodPayload", period));
	/* nova-network's. */
	if (nova_release_has(kind->release, NOVA_HABIT_BANDWIDTH))
		cJSON_AddArrayToObject(payload, "bandwidth");
	add_instance_fields(kind, payload, instance, context);
	return wrap_payload(kind, "InstanceExistsPayload", payload);
}
