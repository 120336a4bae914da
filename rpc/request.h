/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request that this server received (struct rpc_request, in rpc.h): creating it from a message.
 * Its ack and its answer use rpc->inflight.
 */
#ifndef NOVASNAP_RPC_REQUEST_H
#define NOVASNAP_RPC_REQUEST_H

#include "rpc/rpc.h"

/* Creates a request from a decoded message, which has a method; takes ownership of the message.
 * `number` is from inflight_open. If it is a call with a time-out, its caller gets heartbeats from
 * now on. */
struct rpc_request *rpc_request_new(struct rpc *rpc, cJSON *message, uint64_t number);

/* Whether the request names a namespace of oslo's endpoints other than None. */
bool rpc_request_has_namespace(const struct rpc_request *request);

#endif
