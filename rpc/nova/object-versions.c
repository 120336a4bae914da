/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The versions of nova's objects that are named in calls to the conductor.
 */
#include "rpc/nova/object-versions.h"

#include <glib.h>
#include <stdbool.h>

struct object_version {
	const char *name;
	const char *zed;
	const char *rocky; /* NULL: as in Zed, or unknown to Rocky, which ignores it then */
};

static const struct object_version action_event[] = {
	{"InstanceActionEvent", "1.4", "1.2"},
};

static const struct object_version faults[] = {
	{"InstanceFaultList", "1.2", NULL},
	{"InstanceFault", "1.2", NULL},
};

/* The list's Instance follows. */
static const struct object_version block_devices[] = {
	{"BlockDeviceMappingList", "1.18", "1.17"},
	{"BlockDeviceMapping", "1.21", "1.19"},
};

/* Instance, and what it may contain. */
static const struct object_version instance[] = {
	{"Instance", "2.7", "2.4"},
	{"ServiceList", "1.19", NULL},
	{"Service", "1.22", NULL},
	{"ComputeNode", "1.19", "1.18"},
	{"HVSpec", "1.2", NULL},
	{"PciDevicePoolList", "1.1", NULL},
	{"PciDevicePool", "1.1", NULL},
	{"InstanceInfoCache", "1.5", NULL},
	{"SecurityGroupList", "1.1", NULL},
	{"SecurityGroup", "1.2", NULL},
	{"InstanceFault", "1.2", NULL},
	{"PciDeviceList", "1.3", NULL},
	{"PciDevice", "1.7", "1.6"},
	{"InstanceNUMATopology", "1.3", NULL},
	{"InstanceNUMACell", "1.6", "1.4"},
	{"VirtCPUTopology", "1.0", NULL},
	{"InstancePCIRequests", "1.1", NULL},
	{"InstancePCIRequest", "1.4", "1.2"},
	{"InstanceDeviceMetadata", "1.0", NULL},
	{"DeviceMetadata", "1.0", NULL},
	{"DeviceBus", "1.0", NULL},
	{"TagList", "1.1", NULL},
	{"Tag", "1.1", NULL},
	{"Flavor", "1.2", NULL},
	{"VirtCPUModel", "1.0", NULL},
	{"VirtCPUFeature", "1.0", NULL},
	{"EC2Ids", "1.0", NULL},
	{"MigrationContext", "1.2", "1.1"},
	{"ResourceList", "1.0", NULL},
	{"Resource", "1.0", NULL},
	{"ResourceMetadata", "1.0", NULL},
	{"KeyPairList", "1.3", NULL},
	{"KeyPair", "1.4", NULL},
	{"TrustedCerts", "1.0", NULL},
};

static void add_versions(cJSON *to, const struct object_version *list, size_t count, bool rocky)
{
	for (size_t i = 0; i < count; i++)
		cJSON_AddStringToObject(to, list[i].name,
					rocky && list[i].rocky ? list[i].rocky : list[i].zed);
}
#define ADD_VERSIONS(to, list, rocky) add_versions(to, list, G_N_ELEMENTS(list), rocky)

void nova_add_object_versions(cJSON *versions, enum nova_query query, const char *caller)
{
	bool rocky = caller && g_str_has_prefix(caller, "5.");

	if (query == NOVA_QUERY_ACTION_EVENT) {
		ADD_VERSIONS(versions, action_event, rocky);
		return;
	}
	if (query == NOVA_QUERY_FAULTS) {
		ADD_VERSIONS(versions, faults, rocky);
		return;
	}
	if (query == NOVA_QUERY_BLOCK_DEVICES)
		ADD_VERSIONS(versions, block_devices, rocky);
	ADD_VERSIONS(versions, instance, rocky);
}
