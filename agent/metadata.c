/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See nova.virt.libvirt.driver.LibvirtDriver._create_snapshot_metadata.
 */
#include "agent/metadata.h"

static void copy_field(cJSON *properties, const struct nova_instance *instance, const char *field,
		       const char *property)
{
	const char *text = nova_instance_string(instance, field);

	/* Glance takes no empty kernel_id, and nova leaves such out (glance._convert_to_v2). */
	if (text && *text)
		cJSON_AddStringToObject(properties, property, text);
}

cJSON *metadata_build(const struct nova_instance *instance, const char *name,
		      const char *disk_format, struct image_meta *ret)
{
	const char *container = nova_instance_system_metadata(instance, "image_container_format");
	const char *os_type = nova_instance_string(instance, "os_type");
	cJSON *properties = cJSON_CreateObject();

	copy_field(properties, instance, "kernel_id", "kernel_id");
	cJSON_AddStringToObject(properties, "image_location", "snapshot");
	cJSON_AddStringToObject(properties, "image_state", "available");
	copy_field(properties, instance, "project_id", "owner_id");
	copy_field(properties, instance, "ramdisk_id", "ramdisk_id");
	if (os_type && *os_type)
		cJSON_AddStringToObject(properties, "os_type", os_type);

	*ret = (struct image_meta){
		.name = name,
		.disk_format = disk_format,
		.container_format = container ? container : "bare",
		.properties = properties,
	};
	return properties;
}
