/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The versions of nova's objects that a query of the conductor names.
 */
#ifndef NOVASNAP_RPC_NOVA_OBJECT_VERSIONS_H
#define NOVASNAP_RPC_NOVA_OBJECT_VERSIONS_H

#include <cjson/cJSON.h>

#include "rpc/nova-release.h"

/* The class whose method is called. */
enum nova_query {
	NOVA_QUERY_INSTANCE,
	NOVA_QUERY_ACTION,
	NOVA_QUERY_ACTION_EVENT,
	NOVA_QUERY_ACTION_EVENTS,
	NOVA_QUERY_BLOCK_DEVICES,
	NOVA_QUERY_FAULTS,
	NOVA_QUERY_SHARES,
};

/* Adds the versions of the class and of the objects that the reply may contain, as the nova-compute
 * of this release does (object_versions of object_class_action_versions). The conductor refuses a
 * version of the class that is newer than its own, and converts its reply to one that is older. */
void nova_add_object_versions(cJSON *versions, enum nova_query query,
			      const struct nova_release *release);

#endif
