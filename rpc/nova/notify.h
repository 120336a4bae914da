/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared code of the notifications, which are declared in rpc/nova.h.
 */
#ifndef NOVASNAP_RPC_NOVA_NOTIFY_H
#define NOVASNAP_RPC_NOVA_NOTIFY_H

#include "rpc/nova.h"

/* Returns a copy of the context with admin rights (nova.context.RequestContext.elevated). The
 * caller frees it. */
struct rpc_context *nova_context_elevated(struct rpc_context *context);

#endif
