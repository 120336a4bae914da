/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The order of the fields of an Instance.
 */
#include "rpc/nova/field-order.h"

#include <glib.h>
#include <stdbool.h>

#include "rpc/nova/value.h"

/* From nova.objects.instance.Instance in the Zed release. */
static const char *const field_order[] = {
	"id",
	"user_id",
	"project_id",
	"image_ref",
	"kernel_id",
	"ramdisk_id",
	"hostname",
	"launch_index",
	"key_name",
	"key_data",
	"power_state",
	"vm_state",
	"task_state",
	"services",
	"memory_mb",
	"vcpus",
	"root_gb",
	"ephemeral_gb",
	"ephemeral_key_uuid",
	"host",
	"node",
	"compute_id",
	"instance_type_id",
	"user_data",
	"reservation_id",
	"launched_at",
	"terminated_at",
	"availability_zone",
	"display_name",
	"display_description",
	"launched_on",
	"locked",
	"locked_by",
	"os_type",
	"architecture",
	"vm_mode",
	"uuid",
	"root_device_name",
	"default_ephemeral_device",
	"default_swap_device",
	"config_drive",
	"access_ip_v4",
	"access_ip_v6",
	"auto_disk_config",
	"progress",
	"shutdown_terminate",
	"disable_terminate",
	"cell_name",
	"metadata",
	"system_metadata",
	"info_cache",
	"security_groups",
	"fault",
	"cleaned",
	"pci_devices",
	"numa_topology",
	"pci_requests",
	"device_metadata",
	"tags",
	"flavor",
	"old_flavor",
	"new_flavor",
	"vcpu_model",
	"ec2_ids",
	"migration_context",
	"keypairs",
	"trusted_certs",
	"hidden",
	"resources",
	"created_at",
	"updated_at",
	"deleted_at",
	"deleted",
};

static int field_rank(const char *field)
{
	for (size_t i = 0; i < G_N_ELEMENTS(field_order); i++) {
		if (g_str_equal(field_order[i], field))
			return (int)i;
	}
	return -1;
}

void nova_instance_data_put(cJSON *data, const char *field, cJSON *value)
{
	bool is_new = !cJSON_GetObjectItemCaseSensitive(data, field);
	int rank = field_rank(field);
	cJSON *later, *next;

	nova_put_member(data, field, value);
	if (!is_new || rank < 0)
		return;
	for (later = data->child; later != value; later = later->next) {
		if (field_rank(later->string) > rank)
			break;
	}
	/* The new field is now the last one: move the fields that belong after it to the end. Do
	 * not use cJSON_InsertItemInArray: with the fix for CVE-2023-50471 that distributions ship,
	 * it fails here and loses the item. */
	for (; later != value; later = next) {
		next = later->next;
		cJSON_AddItemToArray(data, cJSON_DetachItemViaPointer(data, later));
	}
}
