/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The payloads of the versioned notifications about an instance
 * (nova.notifications.objects.instance).
 */
#ifndef NOVASNAP_RPC_NOVA_PAYLOAD_VERSIONED_H
#define NOVASNAP_RPC_NOVA_PAYLOAD_VERSIONED_H

#include "rpc/nova.h"

/* What the payloads of an instance depend on besides. */
struct nova_payload_kind {
	const struct nova_release *release;
	bool includes_shares; /* if the release has them: nova_notify_has_shares */
};

/* InstanceActionSnapshotPayload of a snapshot to this image; InstanceActionPayload if `image_id` is
 * NULL. */
cJSON *nova_versioned_payload(const struct nova_payload_kind *kind,
			      const struct nova_instance *instance,
			      const struct rpc_context *context, const char *image_id);
/* InstanceExistsPayload for the audit period between these times, which are in UTC. */
cJSON *nova_versioned_exists_payload(const struct nova_payload_kind *kind,
				     const struct nova_instance *instance,
				     const struct rpc_context *context, GDateTime *from,
				     GDateTime *to);

#endif
