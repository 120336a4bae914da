/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The payload of compute.instance.<action>.start and .end, as nova.notifications.base builds it.
 */
#include "rpc/nova/payload-legacy.h"

#include <string.h>

#include "rpc/json.h"
#include "rpc/nova/value.h"

#define IMAGE_METADATA_PREFIX "image_"

static void add_copy(cJSON *to, const char *name, const cJSON *from, const char *field)
{
	cJSON_AddItemToObject(to, name, nova_copy_member(from, field));
}

static void add_copies(cJSON *to, const cJSON *from, const char *const *fields)
{
	for (; *fields; fields++)
		add_copy(to, *fields, from, *fields);
}

/* As null_safe_str of nova.notifications.base. */
static void add_or_empty(cJSON *to, const char *name, const cJSON *from, const char *field)
{
	const char *text = json_string(from, field);

	cJSON_AddStringToObject(to, name, text ? text : "");
}

/* As null_safe_isotime of nova.notifications.base. */
static void add_isotime(cJSON *to, const cJSON *data, const char *field)
{
	const char *text = json_string(data, field);
	g_autofree char *time = text ? nova_time_strtime(text) : NULL;

	cJSON_AddStringToObject(to, field, time ? time : "");
}

static void add_created_at(cJSON *to, const cJSON *data)
{
	const char *text = json_string(data, "created_at");
	g_autofree char *time = text ? nova_time_str(text) : NULL;

	cJSON_AddStringToObject(to, "created_at", time ? time : "None");
}

/* If there is no progress, it is an empty text here, not 0. */
static void add_progress(cJSON *to, const cJSON *data)
{
	int64_t progress;

	if (json_int64(data, "progress", &progress) && progress != 0)
		add_copy(to, "progress", data, "progress");
	else
		cJSON_AddStringToObject(to, "progress", "");
}

/* `from` is the flavor; without one, the instance's own fields, which are older than flavors. */
static void add_capacity(cJSON *to, const cJSON *from)
{
	int64_t root_gb = 0, ephemeral_gb = 0;

	(void)json_int64(from, "root_gb", &root_gb);
	(void)json_int64(from, "ephemeral_gb", &ephemeral_gb);
	add_copy(to, "memory_mb", from, "memory_mb");
	cJSON_AddNumberToObject(to, "disk_gb", (double)root_gb + (double)ephemeral_gb);
	add_copy(to, "vcpus", from, "vcpus");
	add_copy(to, "root_gb", from, "root_gb");
	add_copy(to, "ephemeral_gb", from, "ephemeral_gb");
}

static void add_image_ref_url(cJSON *to, const cJSON *data, const char *image_location)
{
	const char *image_ref = json_string(data, "image_ref");
	g_autofree char *url = NULL;

	if (!image_location) {
		add_copy(to, "image_ref_url", data, "image_ref");
		return;
	}
	url = g_strdup_printf("%s/images/%s", image_location, image_ref ? image_ref : "None");
	nova_add_text(to, "image_ref_url", url);
}

static void add_image_meta(cJSON *to, const cJSON *data)
{
	cJSON *meta = cJSON_AddObjectToObject(to, "image_meta");
	const cJSON *item;

	cJSON_ArrayForEach (item, cJSON_GetObjectItemCaseSensitive(data, "system_metadata")) {
		if (item->string && g_str_has_prefix(item->string, IMAGE_METADATA_PREFIX))
			cJSON_AddItemToObject(meta, item->string + strlen(IMAGE_METADATA_PREFIX),
					      cJSON_Duplicate(item, true));
	}
}

cJSON *nova_legacy_payload(const struct nova_instance *instance, const char *image_location)
{
	static const char *const names[] = {"display_name", "reservation_id", "hostname", NULL};
	static const char *const places[] = {"host", "node", "availability_zone", NULL};
	static const char *const images[] = {"os_type", "kernel_id", "ramdisk_id", NULL};
	static const char *const last[] = {"access_ip_v4", "access_ip_v6", NULL};
	const cJSON *data = nova_instance_data(instance);
	const cJSON *flavor = nova_member_data(data, "flavor");
	cJSON *payload = cJSON_CreateObject();

	add_copy(payload, "tenant_id", data, "project_id");
	add_copy(payload, "user_id", data, "user_id");
	add_copy(payload, "instance_id", data, "uuid");
	add_copies(payload, data, names);
	add_or_empty(payload, "instance_type", flavor, "name");
	add_copy(payload, "instance_type_id", data, "instance_type_id");
	add_or_empty(payload, "instance_flavor_id", flavor, "flavorid");
	add_copy(payload, "architecture", data, "architecture");
	add_capacity(payload, flavor ? flavor : data);
	add_copies(payload, data, places);
	add_or_empty(payload, "cell_name", data, "cell_name");
	add_created_at(payload, data);
	add_isotime(payload, data, "terminated_at");
	add_isotime(payload, data, "deleted_at");
	add_isotime(payload, data, "launched_at");
	add_image_ref_url(payload, data, image_location);
	add_copies(payload, data, images);
	add_copy(payload, "state", data, "vm_state");
	add_or_empty(payload, "state_description", data, "task_state");
	add_progress(payload, data);
	add_copies(payload, data, last);
	add_image_meta(payload, data);
	add_copy(payload, "metadata", data, "metadata");
	return payload;
}
