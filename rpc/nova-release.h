/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The releases of nova, and what differs between them: the versions of objects in messages, and
 * habits of nova-compute. rpc/nova/release.c contains the tables.
 */
#ifndef NOVASNAP_RPC_NOVA_RELEASE_H
#define NOVASNAP_RPC_NOVA_RELEASE_H

#include <stdbool.h>

struct nova_instance;
struct rpc_context;

/* A release of nova, from Rocky on. Constant. */
struct nova_release;

/* What the nova-compute of only some releases does. */
enum nova_habit {
	/* A snapshot of an image `ami` is called `ami`, whatever its bytes are. */
	NOVA_HABIT_AMI,
	/* The notifications of compute.instance.exists have a member `bandwidth`. */
	NOVA_HABIT_BANDWIDTH,
	/* The payloads of versioned notifications have a member `locked_reason`. */
	NOVA_HABIT_LOCKED_REASON,
	/* They have a member `shares`, and the methods that start or stop a guest query the
	 * instance's shares. */
	NOVA_HABIT_SHARES,
	/* The event of snapshot_instance is finished after the first save: the rest runs in another
	 * thread, as _snapshot_instance. */
	NOVA_HABIT_EARLY_EVENT,
	/* A second RPC server has the topic `compute-alt`. */
	NOVA_HABIT_ALT_SERVER,
	NOVA_HABITS
};

/* The release that writes this version into the records of its services
 * (nova.objects.service.SERVICE_VERSION). Two releases may have the same version: then it is the
 * newest of them whose Instance is not newer than this one (NULL: the newest of them). For a
 * version between those of two releases, it is the older one; for one that is newer than all, the
 * newest release, and for one that is older than all, the oldest. */
const struct nova_release *nova_release_of_record(int version,
						  const struct nova_instance *instance);
/* The release that a request of the compute RPC shows, if no record is known: the oldest one that
 * can have sent it, but at least Zed for a request of version 6.x. Requests of version 5.x come
 * from Rocky to Victoria, or from a later nova that is pinned to 5.x: that is Rocky, whose versions
 * every later conductor knows. Neither argument is kept. */
const struct nova_release *nova_release_of_request(const struct rpc_context *context,
						   const struct nova_instance *instance);
/* Whether a version in the record of a service is newer than that of all known releases. */
bool nova_release_is_unknown(int version);

/* "2025.1 Epoxy". */
const char *nova_release_name(const struct nova_release *release);
/* nova's major version: 31. */
unsigned nova_release_major(const struct nova_release *release);
/* The newest version of the compute RPC that it serves: "6.4". */
const char *nova_release_compute_rpc(const struct nova_release *release);
/* The releases with this version in the records of their services: "Nova 31 (2025.1 Epoxy)",
 * "Nova 27 (2023.1 Antelope) or 28 (2023.2 Bobcat)". Names the release as which another version is
 * served. The caller frees it. */
char *nova_release_describe_record(int version);

bool nova_release_has(const struct nova_release *release, enum nova_habit habit);
/* The version of an object or payload in the messages of this release. NULL: it does not have the
 * object. */
const char *nova_release_object_version(const struct nova_release *release, const char *name);

#endif
