/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The releases of nova. The tables were read from the tags of nova's repository: SERVICE_VERSION of
 * nova/objects/service.py, the target of nova/compute/manager.py, and VERSION of the classes in
 * nova/objects and nova/notifications/objects. A new release needs a row in `releases`, an entry
 * for each object whose version has changed, and `until` or a new habit for what it does otherwise.
 */
#include "rpc/nova-release.h"

#include <glib.h>

#include "rpc/nova/instance.h"

struct nova_release {
	unsigned major;
	const char *name;
	int record; /* version in the records of its services */
	const char *compute_rpc;
};

/* The oldest first. */
static const struct nova_release releases[] = {
	{18, "Rocky", 35, "5.0"},
	{19, "Stein", 37, "5.1"},
	{20, "Train", 40, "5.3"},
	{21, "Ussuri", 51, "5.11"},
	{22, "Victoria", 53, "5.12"},
	{23, "Wallaby", 56, "6.0"},
	{24, "Xena", 60, "6.0"},
	{25, "Yoga", 61, "6.0"},
	{26, "Zed", 64, "6.1"},
	{27, "2023.1 Antelope", 66, "6.2"},
	{28, "2023.2 Bobcat", 66, "6.2"},
	{29, "2024.1 Caracal", 67, "6.3"},
	{30, "2024.2 Dalmatian", 67, "6.3"},
	{31, "2025.1 Epoxy", 68, "6.4"},
	{32, "2025.2 Flamingo", 70, "6.4"},
	{33, "2026.1 Gazpacho", 72, "6.5"},
	{34, "2026.2 Hibiscus", 74, "6.5"},
};

#define ZED 26
#define VERSIONS_MAX 4

/* An object's versions, the oldest first, each with the release that began with it. */
struct object_history {
	const char *name;
	struct {
		unsigned since; /* major version of nova; 0: no more entries */
		const char *version;
	} versions[VERSIONS_MAX];
};

#define ALWAYS 18

static const struct object_history objects[] = {
	{"BlockDeviceMapping", {{18, "1.19"}, {19, "1.20"}, {26, "1.21"}}},
	{"BlockDeviceMappingList", {{18, "1.17"}, {23, "1.18"}}},
	{"ComputeNode", {{18, "1.18"}, {20, "1.19"}}},
	{"DeviceBus", {{ALWAYS, "1.0"}}},
	{"DeviceMetadata", {{ALWAYS, "1.0"}}},
	{"EC2Ids", {{ALWAYS, "1.0"}}},
	{"Flavor", {{ALWAYS, "1.2"}}},
	{"HVSpec", {{ALWAYS, "1.2"}}},
	{"Instance", {{18, "2.4"}, {20, "2.7"}, {28, "2.8"}}},
	{"InstanceAction", {{18, "1.1"}, {20, "1.2"}}},
	{"InstanceActionEvent", {{18, "1.2"}, {20, "1.3"}, {21, "1.4"}}},
	{"InstanceActionEventList", {{ALWAYS, "1.1"}}},
	{"InstanceDeviceMetadata", {{ALWAYS, "1.0"}}},
	{"InstanceFault", {{ALWAYS, "1.2"}}},
	{"InstanceFaultList", {{ALWAYS, "1.2"}}},
	{"InstanceInfoCache", {{ALWAYS, "1.5"}}},
	{"InstanceNUMACell", {{18, "1.4"}, {22, "1.6"}}},
	{"InstanceNUMATopology", {{ALWAYS, "1.3"}}},
	{"InstancePCIRequest", {{18, "1.2"}, {19, "1.3"}, {23, "1.4"}}},
	{"InstancePCIRequests", {{ALWAYS, "1.1"}}},
	{"KeyPair", {{ALWAYS, "1.4"}}},
	{"KeyPairList", {{ALWAYS, "1.3"}}},
	{"MigrationContext", {{18, "1.1"}, {20, "1.2"}}},
	{"PciDevice", {{18, "1.6"}, {23, "1.7"}}},
	{"PciDeviceList", {{ALWAYS, "1.3"}}},
	{"PciDevicePool", {{ALWAYS, "1.1"}}},
	{"PciDevicePoolList", {{ALWAYS, "1.1"}}},
	{"Resource", {{20, "1.0"}}},
	{"ResourceList", {{20, "1.0"}}},
	{"ResourceMetadata", {{20, "1.0"}}},
	{"SecurityGroup", {{ALWAYS, "1.2"}}},
	{"SecurityGroupList", {{ALWAYS, "1.1"}}},
	{"Service", {{ALWAYS, "1.22"}}},
	{"ServiceList", {{ALWAYS, "1.19"}}},
	{"ShareMapping", {{29, "1.0"}, {31, "1.2"}}},
	{"ShareMappingList", {{29, "1.0"}}},
	{"Tag", {{ALWAYS, "1.1"}}},
	{"TagList", {{ALWAYS, "1.1"}}},
	{"TrustedCerts", {{ALWAYS, "1.0"}}},
	{"VirtCPUFeature", {{ALWAYS, "1.0"}}},
	{"VirtCPUModel", {{ALWAYS, "1.0"}}},
	{"VirtCPUTopology", {{ALWAYS, "1.0"}}},
	/* Notifications. */
	{"AuditPeriodPayload", {{ALWAYS, "1.0"}}},
	{"BlockDevicePayload", {{ALWAYS, "1.0"}}},
	{"ExceptionPayload", {{ALWAYS, "1.1"}}},
	{"FlavorPayload", {{ALWAYS, "1.4"}}},
	{"InstanceActionPayload", {{18, "1.7"}, {20, "1.8"}, {31, "1.9"}}},
	{"InstanceActionSnapshotPayload", {{18, "1.8"}, {20, "1.9"}, {31, "1.10"}}},
	{"InstanceExistsPayload", {{18, "1.1"}, {20, "1.2"}, {25, "2.0"}, {31, "2.1"}}},
	{"IpPayload", {{ALWAYS, "1.0"}}},
	{"SharePayload", {{31, "1.0"}}},
};

static const struct {
	unsigned since;
	unsigned until; /* 0: also the newest release */
} habits[NOVA_HABITS] = {
	/* The stable releases 27.5, 28.3 and 29.2 ended it. An Instance of 28 and later is not
	 * called `ami`, so that its format says the truth. */
	[NOVA_HABIT_AMI] = {18, 27},	      [NOVA_HABIT_BANDWIDTH] = {18, 24},
	[NOVA_HABIT_LOCKED_REASON] = {20, 0}, [NOVA_HABIT_SHARES] = {31, 0},
	[NOVA_HABIT_EARLY_EVENT] = {33, 0},   [NOVA_HABIT_ALT_SERVER] = {33, 0},
};

#define OLDEST (&releases[0])
#define NEWEST (&releases[G_N_ELEMENTS(releases) - 1])

static bool fits_instance(const struct nova_release *release, const struct nova_instance *instance)
{
	return nova_instance_has_version(instance,
					 nova_release_object_version(release, "Instance"));
}

const struct nova_release *nova_release_of_record(int version, const struct nova_instance *instance)
{
	const struct nova_release *release = NEWEST;

	while (release > OLDEST && release->record > version)
		release--;
	while (instance && release > OLDEST && release[-1].record == release->record &&
	       !fits_instance(release, instance))
		release--;
	return release;
}

static const struct nova_release *find_major(unsigned major)
{
	const struct nova_release *release = NEWEST;

	while (release > OLDEST && release->major > major)
		release--;
	return release;
}

const struct nova_release *nova_release_of_request(const struct rpc_context *context,
						   const struct nova_instance *instance)
{
	const char *version = rpc_context_version(context);
	const struct nova_release *release = find_major(ZED);

	if (nova_instance_is_plain(instance) || (version && !g_str_has_prefix(version, "6.")))
		return OLDEST;
	for (const struct nova_release *next = release + 1; next <= NEWEST; next++) {
		if (!g_str_equal(nova_release_object_version(next, "Instance"),
				 nova_release_object_version(release, "Instance")) &&
		    fits_instance(next, instance))
			release = next;
	}
	return release;
}

bool nova_release_is_unknown(int version)
{
	return version > NEWEST->record;
}

const char *nova_release_name(const struct nova_release *release)
{
	return release->name;
}

unsigned nova_release_major(const struct nova_release *release)
{
	return release->major;
}

const char *nova_release_compute_rpc(const struct nova_release *release)
{
	return release->compute_rpc;
}

char *nova_release_describe_record(int version)
{
	const struct nova_release *newest = nova_release_of_record(version, NULL);
	const struct nova_release *release = newest;
	GString *text = g_string_new("Nova ");

	while (release > OLDEST && release[-1].record == newest->record)
		release--;
	for (; release <= newest; release++)
		g_string_append_printf(text, "%u (%s)%s", release->major, release->name,
				       release < newest ? " or " : "");
	if (nova_release_is_unknown(version))
		g_string_prepend(text, "a release that is newer than this novasnap, served as ");
	else if (version < OLDEST->record)
		g_string_prepend(text, "a release before Rocky, served as ");
	return g_string_free(text, FALSE);
}

bool nova_release_has(const struct nova_release *release, enum nova_habit habit)
{
	return release->major >= habits[habit].since &&
	       (habits[habit].until == 0 || release->major <= habits[habit].until);
}

const char *nova_release_object_version(const struct nova_release *release, const char *name)
{
	const struct object_history *object = objects;
	const char *version = NULL;

	while (object < objects + G_N_ELEMENTS(objects) && !g_str_equal(object->name, name))
		object++;
	g_return_val_if_fail(object < objects + G_N_ELEMENTS(objects), NULL);
	for (size_t i = 0; i < VERSIONS_MAX && object->versions[i].since > 0; i++) {
		if (object->versions[i].since <= release->major)
			version = object->versions[i].version;
	}
	return version;
}
