/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The error domain of this room (RPC_ERROR, in rpc.h). An error from a remote exception contains
 * the exception's class and module; rpc_failure_from_error reads them.
 */
#ifndef NOVASNAP_RPC_ERROR_H
#define NOVASNAP_RPC_ERROR_H

#include "rpc/rpc.h"

/* Creates the error for a remote exception, with the text "module.class: message". `code` is
 * RPC_ERROR_REMOTE or one of the codes after it. `actual_task_state` is the task state that the
 * conductor found: "" for None, NULL if the exception has none. All strings are copied. */
GError *rpc_error_new_remote(enum rpc_error code, const char *class_name, const char *module,
			     const char *message, const char *actual_task_state);

#endif
