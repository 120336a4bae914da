/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The payload of the unversioned notifications about an instance.
 */
#ifndef NOVASNAP_RPC_NOVA_PAYLOAD_LEGACY_H
#define NOVASNAP_RPC_NOVA_PAYLOAD_LEGACY_H

#include "rpc/nova.h"

/* nova.notifications.base.info_from_instance. `image_location` is Glance's URL, for image_ref_url;
 * NULL: unknown, then only the image's id is given, as nova does. */
cJSON *nova_legacy_payload(const struct nova_instance *instance, const char *image_location);

#endif
