/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Conversion between the context of a request (struct rpc_context, in rpc.h) and the message
 * members whose names begin with _context_ (oslo_messaging._drivers.amqp, pack_context and
 * unpack_context).
 */
#ifndef NOVASNAP_RPC_CONTEXT_H
#define NOVASNAP_RPC_CONTEXT_H

#include "rpc/rpc.h"

/* Moves the _context_* members out of a message into a new context, which the caller frees. The
 * context remembers the message's version. */
struct rpc_context *rpc_context_detach(cJSON *message);

/* Adds the fields of a context to a message as _context_* members. If `replace` is not NULL, it is
 * called for each field with the names of the member (`key`) and of the field. It returns true if
 * it has added a replacement itself; then the field is not added. */
void rpc_context_attach(cJSON *message, const struct rpc_context *context,
			bool (*replace)(cJSON *message, const char *key, const char *field));

#endif
