/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The methods and versions that novasnapd supports, and the dispatch of requests to them.
 */
#ifndef NOVASNAP_AGENT_DISPATCH_H
#define NOVASNAP_AGENT_DISPATCH_H

#include <stdatomic.h>

#include "agent/task/intake.h"

/* The method of `novasnap cancel`: a call with the argument id, the UUID of an image or instance.
 * It returns how many snapshots were cancelled. */
#define DISPATCH_CANCEL "novasnap_cancel"
#define DISPATCH_CANCEL_VERSION "6.0"

struct dispatch {
	struct agent *agent;
	struct intake *intake;
	atomic_uint unhandled; /* number of casts with an unsupported method so far */
};

/* For rpc_server_start. `dispatch` must outlive the server. */
struct rpc_server_ops dispatch_server_ops(struct dispatch *dispatch);

/* Takes a request that is not from a broker. False with RPC_ERROR_DECODE if its method is not
 * supported or its arguments are invalid. */
bool dispatch_take(struct dispatch *dispatch, struct rpc_request *request, GError **error);

/* The method of that name, if its requests become tasks. NULL: none. */
const struct task_method *dispatch_find_method(const char *name);

/* Calls `each` for every method whose requests become tasks. */
void dispatch_each_method(void (*each)(const struct task_method *method, void *opaque),
			  void *opaque);

/* Cancels the snapshots of an instance, or the snapshot to an image. Returns how many. Any
 * thread. */
unsigned dispatch_cancel(struct dispatch *dispatch, const char *id);

#endif
