/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See image-metadata.h.
 */
#include "agent/method/image-metadata.h"

#include <string.h>

#include "agent/task/step.h"

#define AMI "ami"

static void copy_field(cJSON *properties, const struct nova_instance *instance, const char *field,
		       const char *property)
{
	const char *text = nova_instance_string(instance, field);

	/* Glance rejects an empty kernel_id; nova omits it (glance._convert_to_v2). */
	if (text && *text)
		cJSON_AddStringToObject(properties, property, text);
}

struct image_base {
	struct image_record *record; /* NULL: not read */
	bool is_plain;		     /* the instance is */
	bool forces_ami;
	char *container; /* container format; NULL or empty: none */
};

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

struct image_base *image_base_new(const struct task *task)
{
	const struct nova_instance *instance = task->instance;
	struct image_base *base = g_new0(struct image_base, 1);
	const char *format, *container;

	base->is_plain = nova_instance_is_plain(instance);
	base->record = read_base_image(task);
	format = base->record ? base->record->disk_format
			      : nova_instance_system_metadata(instance, "image_disk_format");
	container = base->record
			    ? base->record->container_format
			    : nova_instance_system_metadata(instance, "image_container_format");
	base->container = g_strdup(container);
	base->forces_ami =
		g_strcmp0(format, AMI) == 0 && nova_release_has(task->release, NOVA_HABIT_AMI);
	return base;
}

void image_base_free(struct image_base *base)
{
	if (!base)
		return;
	image_record_free(base->record);
	g_free(base->container);
	g_free(base);
}

bool image_base_forces_ami(const struct image_base *base)
{
	return base->forces_ami;
}

static const char *find_architecture(const struct image_base *base)
{
	return base->record ? cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
				      base->record->document, "architecture"))
			    : NULL;
}

cJSON *image_metadata_build(const struct task *task, const struct image_base *base,
			    const char *name, const char *disk_format, struct image_meta *ret)
{
	const struct nova_instance *instance = task->instance;
	const char *architecture = find_architecture(base);
	cJSON *properties = cJSON_CreateObject();

	copy_field(properties, instance, "kernel_id", "kernel_id");
	cJSON_AddStringToObject(properties, "image_location", "snapshot");
	cJSON_AddStringToObject(properties, "image_state", "available");
	copy_field(properties, instance, "project_id", "owner_id");
	copy_field(properties, instance, "ramdisk_id", "ramdisk_id");
	if (base->is_plain && architecture)
		cJSON_AddStringToObject(properties, "architecture", architecture);
	if (!base->is_plain)
		copy_field(properties, instance, "os_type", "os_type");

	*ret = (struct image_meta){
		.name = name,
		.disk_format = base->forces_ami ? AMI : disk_format,
		.container_format = base->container && *base->container ? base->container : "bare",
		.properties = properties,
	};
	return properties;
}

int image_metadata_save(struct task *task, const struct image_meta *meta, GError **error)
{
	if (task_step_begin(task, "image-update", NULL, error) < 0 ||
	    image_store_update(task->agent->store, &task->identity, task->image_id, meta, error) <
		    0)
		return -1;
	return task_step_end(task, "image-update", error);
}
