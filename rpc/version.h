/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RPC API versions.
 */
#ifndef NOVASNAP_RPC_VERSION_H
#define NOVASNAP_RPC_VERSION_H

#include <stdbool.h>

/* Whether a server with these versions (NULL-terminated, as "6.5") supports a request of the
 * version `wanted`: the same major version, and nothing newer
 * (oslo_messaging._utils.version_is_compatible). False for a malformed version. */
bool rpc_version_is_served(const char *const *versions, const char *wanted);

#endif
