/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the notifications need beside their payloads. The notifications themselves stand in
 * rpc/nova.h.
 */
#ifndef NOVASNAP_RPC_NOVA_NOTIFY_H
#define NOVASNAP_RPC_NOVA_NOTIFY_H

#include "rpc/nova.h"

/* Returns a copy of the context with the rights of an admin (nova.context.RequestContext.elevated).
 * The caller frees it. */
struct rpc_context *nova_context_elevated(struct rpc_context *context);

#endif
