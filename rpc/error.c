/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The error domain RPC_ERROR, and the data of a remote exception in an error.
 */
#include "rpc/error.h"

/* The data of a remote exception. */
typedef struct {
	char *class_name; /* NULL: not a remote exception */
	char *module;
	char *actual_task_state; /* "": None; NULL: not given */
} RpcErrorPrivate;

static void rpc_error_private_init(RpcErrorPrivate *private)
{
	private->class_name = NULL;
	private->module = NULL;
	private->actual_task_state = NULL;
}

static void rpc_error_private_copy(const RpcErrorPrivate *from, RpcErrorPrivate *to)
{
	to->class_name = g_strdup(from->class_name);
	to->module = g_strdup(from->module);
	to->actual_task_state = g_strdup(from->actual_task_state);
}

static void rpc_error_private_clear(RpcErrorPrivate *private)
{
	g_free(private->class_name);
	g_free(private->module);
	g_free(private->actual_task_state);
}

G_DEFINE_EXTENDED_ERROR(RpcError, rpc_error)

GError *rpc_error_new_remote(enum rpc_error code, const char *class_name, const char *module,
			     const char *message, const char *actual_task_state)
{
	GError *error = g_error_new(RPC_ERROR, (int)code, "%s.%s: %s", module, class_name, message);
	RpcErrorPrivate *private = rpc_error_get_private(error);

	private->class_name = g_strdup(class_name);
	private->module = g_strdup(module);
	private->actual_task_state = g_strdup(actual_task_state);
	return error;
}

bool rpc_failure_from_error(const GError *error, const char **ret_class, const char **ret_module)
{
	const RpcErrorPrivate *private;

	if (error->domain != RPC_ERROR)
		return false;
	private = rpc_error_get_private(error);
	if (!private->class_name)
		return false;
	*ret_class = private->class_name;
	*ret_module = private->module;
	return true;
}

const char *rpc_failure_actual_task_state(const GError *error)
{
	if (error->domain != RPC_ERROR)
		return NULL;
	return rpc_error_get_private(error)->actual_task_state;
}

bool rpc_error_is_unanswered(const GError *error)
{
	return error->domain == RPC_ERROR &&
	       (error->code == RPC_ERROR_TIMEOUT || error->code == RPC_ERROR_DISCONNECTED ||
		error->code == RPC_ERROR_OUTBOX_FULL || error->code == RPC_ERROR_NOT_CONFIRMED);
}
