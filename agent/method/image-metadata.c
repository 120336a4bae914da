/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See image-metadata.h.
 */
#include "agent/method/image-metadata.h"

#include <string.h>

#define AMI "ami"

static void copy_field(cJSON *properties, const struct nova_instance *instance, const char *field,
		       const char *property)
{
	const char *text = nova_instance_string(instance, field);

	/* Glance rejects an empty kernel_id; nova omits it (glance._convert_to_v2). */
	if (text && *text)
		cJSON_AddStringToObject(properties, property, text);
}

static const char *image_property(const struct image_record *image, const char *name)
{
	return image ? cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(image->document, name))
		     : NULL;
}

/* Until Grizzly, nova read the base image's record; later instances contain the necessary
 * properties. */
static struct image_record *read_base_image(const struct task *task)
{
	const char *ref = nova_instance_string(task->instance, "image_ref");
	struct image_record *base = NULL;

	if (!nova_instance_is_plain(task->instance) || !ref || !g_uuid_string_is_valid(ref))
		return NULL;
	if (image_store_get(task->agent->store, &task->identity, ref, &base, NULL) < 0)
		g_message("instance %s: cannot read its base image %s; the snapshot's record does "
			  "not get the base image's properties",
			  nova_instance_uuid(task->instance), ref);
	return base;
}

cJSON *image_metadata_build(const struct task *task, const char *name, const char *disk_format,
			    struct image_meta *ret)
{
	const struct nova_instance *instance = task->instance;
	g_autoptr(image_record_t) base = read_base_image(task);
	cJSON *properties = cJSON_CreateObject();
	const char *base_format, *container, *architecture;

	base_format = base ? base->disk_format
			   : nova_instance_system_metadata(instance, "image_disk_format");
	container = base ? base->container_format
			 : nova_instance_system_metadata(instance, "image_container_format");
	architecture = image_property(base, "architecture");
	copy_field(properties, instance, "kernel_id", "kernel_id");
	cJSON_AddStringToObject(properties, "image_location", "snapshot");
	cJSON_AddStringToObject(properties, "image_state", "available");
	copy_field(properties, instance, "project_id", "owner_id");
	copy_field(properties, instance, "ramdisk_id", "ramdisk_id");
	if (nova_instance_is_plain(instance) && architecture)
		cJSON_AddStringToObject(properties, "architecture", architecture);
	if (!nova_instance_is_plain(instance))
		copy_field(properties, instance, "os_type", "os_type");

	*ret = (struct image_meta){
		.name = name,
		/* Glance accepts only this format in the container ami. */
		.disk_format = g_strcmp0(base_format, AMI) == 0 ? AMI : disk_format,
		.container_format = "bare",
		.properties = properties,
	};
	if (container)
		ret->container_format = base ? g_intern_string(container) : container;
	return properties;
}
