/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The objects whose versions are named in calls to the conductor
 * (oslo_versionedobjects.base.obj_tree_get_versions). release.c contains the versions.
 */
#include "rpc/nova/object-versions.h"

static const char *const action[] = {"InstanceAction", NULL};

static const char *const action_event[] = {"InstanceActionEvent", NULL};

static const char *const action_events[] = {"InstanceActionEventList", "InstanceActionEvent", NULL};

static const char *const faults[] = {"InstanceFaultList", "InstanceFault", NULL};

static const char *const shares[] = {"ShareMappingList", "ShareMapping", NULL};

/* Instance, and what it may contain, in nova's order. */
static const char *const instance[] = {
	"Instance",
	"ServiceList",
	"Service",
	"ComputeNode",
	"HVSpec",
	"PciDevicePoolList",
	"PciDevicePool",
	"InstanceInfoCache",
	"SecurityGroupList",
	"SecurityGroup",
	"InstanceFault",
	"PciDeviceList",
	"PciDevice",
	"InstanceNUMATopology",
	"InstanceNUMACell",
	"VirtCPUTopology",
	"InstancePCIRequests",
	"InstancePCIRequest",
	"InstanceDeviceMetadata",
	"DeviceMetadata",
	"DeviceBus",
	"TagList",
	"Tag",
	"Flavor",
	"VirtCPUModel",
	"VirtCPUFeature",
	"EC2Ids",
	"MigrationContext",
	"ResourceList",
	"Resource",
	"ResourceMetadata",
	"KeyPairList",
	"KeyPair",
	"TrustedCerts",
	NULL,
};

/* Each has an Instance. */
static const char *const block_devices[] = {"BlockDeviceMappingList", "BlockDeviceMapping", NULL};

static void add_versions(cJSON *to, const char *const *names, const struct nova_release *release)
{
	for (; *names; names++) {
		const char *version = nova_release_object_version(release, *names);

		if (version)
			cJSON_AddStringToObject(to, *names, version);
	}
}

void nova_add_object_versions(cJSON *versions, enum nova_query query,
			      const struct nova_release *release)
{
	static const char *const *const lists[] = {
		[NOVA_QUERY_INSTANCE] = instance,
		[NOVA_QUERY_ACTION] = action,
		[NOVA_QUERY_ACTION_EVENT] = action_event,
		[NOVA_QUERY_ACTION_EVENTS] = action_events,
		[NOVA_QUERY_BLOCK_DEVICES] = block_devices,
		[NOVA_QUERY_FAULTS] = faults,
		[NOVA_QUERY_SHARES] = shares,
	};

	add_versions(versions, lists[query], release);
	if (query == NOVA_QUERY_BLOCK_DEVICES)
		add_versions(versions, instance, release);
}
