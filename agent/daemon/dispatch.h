/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The methods and versions that novasnapd serves, and which request goes where.
 */
#ifndef NOVASNAP_AGENT_DISPATCH_H
#define NOVASNAP_AGENT_DISPATCH_H

#include <stdatomic.h>

#include "agent/task/intake.h"

/* The method of `novasnap cancel`: a call with the argument id, an image's or an instance's. It
 * returns how many snapshots were cancelled. */
#define DISPATCH_CANCEL "novasnap_cancel"
#define DISPATCH_CANCEL_VERSION "6.0"

struct dispatch {
	struct agent *agent;
	struct intake *intake;
	atomic_uint unhandled; /* casts of methods that are not served, so far */
};

/* For rpc_server_start. `dispatch` must live as long as the server. */
struct rpc_server_ops dispatch_server_ops(struct dispatch *dispatch);

/* Takes a request that came from no broker. False with RPC_ERROR_DECODE where its method is not
 * served or its arguments make no sense. */
bool dispatch_take(struct dispatch *dispatch, struct rpc_request *request, GError **error);

/* The method of that name, where requests for it become tasks. NULL: there is none. */
const struct task_method *dispatch_find_method(const char *name);

/* Cancels the snapshots of an instance, or the one into an image. Returns how many. Any thread. */
unsigned dispatch_cancel(struct dispatch *dispatch, const char *id);

#endif
