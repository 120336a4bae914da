/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See nova.virt.libvirt.driver.LibvirtDriver._create_snapshot_metadata, and for a plain instance
 * LibvirtDriver.snapshot of Folsom and Grizzly.
 */
#include "agent/method/image-metadata.h"

#include <string.h>

#define AMI "ami"

static void copy_field(cJSON *properties, const struct nova_instance *instance, const char *field,
		       const char *property)
{
	const char *text = nova_instance_string(instance, field);

	/* Glance takes no empty kernel_id, and nova leaves such out (glance._convert_to_v2). */
	if (text && *text)
		cJSON_AddStringToObject(properties, property, text);
}

static const char *property_of(const struct image_record *base, const char *name)
{
	return base ? cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(base->document, name))
		    : NULL;
}

/* Until Grizzly the base image itself was asked; later the instance remembers it. */
static void read_base(const struct task *task, struct image_record **ret_base)
{
	const char *ref = nova_instance_string(task->instance, "image_ref");

	*ret_base = NULL;
	if (!nova_instance_is_plain(task->instance) || !ref || !g_uuid_string_is_valid(ref))
		return;
	if (image_store_get(task->manager->store, &task->identity, ref, ret_base, NULL) < 0)
		g_message("instance %s: its base image %s is not to be had; the snapshot's record "
			  "goes without what it says",
			  nova_instance_uuid(task->instance), ref);
}

cJSON *metadata_build(const struct task *task, const char *name, const char *disk_format,
		      struct image_meta *ret)
{
	const struct nova_instance *instance = task->instance;
	g_autoptr(image_record_t) base = NULL;
	cJSON *properties = cJSON_CreateObject();
	const char *base_format, *container, *architecture;

	read_base(task, &base);
	base_format = base ? base->disk_format
			   : nova_instance_system_metadata(instance, "image_disk_format");
	container = base ? base->container_format
			 : nova_instance_system_metadata(instance, "image_container_format");
	architecture = property_of(base, "architecture");
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
		/* Glance takes no other format in the container ami. */
		.disk_format = g_strcmp0(base_format, AMI) == 0 ? AMI : disk_format,
		.container_format = "bare",
		.properties = properties,
	};
	if (container)
		ret->container_format = base ? g_intern_string(container) : container;
	return properties;
}
