/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A call to nova's conductor (nova.conductor.rpcapi.ConductorAPI).
 */
#ifndef NOVASNAP_RPC_NOVA_CONDUCTOR_H
#define NOVASNAP_RPC_NOVA_CONDUCTOR_H

#include "rpc/nova.h"

/* Calls a method of the conductor's RPC 3.0. Takes ownership of `args`. Returns the result, which
 * the caller deletes, or NULL with an error of rpc_call, prefixed with `action` ("saving the
 * instance"). */
cJSON *nova_conductor_call(struct rpc *rpc, struct rpc_context *context, const char *method,
			   cJSON *args, const char *action, GError **error);

#endif
