/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See dispatch.h.
 */
#include "agent/daemon/dispatch.h"

#include "agent/method/methods.h"

/* Only the method and the ids: the arguments may hold secrets. */
static void count_unhandled(const struct rpc_request *request, bool moved, void *opaque)
{
	struct dispatch *dispatch = opaque;
	const char *unique_id = rpc_request_unique_id(request);
	g_autofree char *cast =
		g_strdup_printf("%s (request %.64s, message %.64s)", rpc_request_method(request),
				rpc_context_string(rpc_request_context(request), "request_id"),
				unique_id ? unique_id : "without an id");
	unsigned count = atomic_fetch_add(&dispatch->unhandled, 1) + 1;

	if (moved)
		g_warning("moving the cast %s to the queue %s: novasnapd does not support this "
			  "method, or its version %s; %u such casts so far",
			  cast, dispatch->agent->config->rpc.unhandled_queue,
			  rpc_request_version(request), count);
	else
		g_warning("dropping the cast %s: novasnapd does not support this method, or its "
			  "version %s; %u such casts so far",
			  cast, rpc_request_version(request), count);
}

static void handle_task_request(struct rpc_request *request, const void *method, void *opaque)
{
	struct dispatch *dispatch = opaque;

	(void)intake_take(dispatch->intake, method, request, NULL);
}

unsigned dispatch_cancel(struct dispatch *dispatch, const char *id)
{
	unsigned count = worker_pool_cancel(dispatch->agent->pool, id);

	g_message("cancel %.64s: cancelling %u snapshots", id, count);
	return count;
}

static void handle_cancel(struct rpc_request *request, const void *method, void *opaque)
{
	struct dispatch *dispatch = opaque;
	const char *id = cJSON_GetStringValue(
		cJSON_GetObjectItemCaseSensitive(rpc_request_args(request), "id"));

	(void)method;
	if (!id) {
		rpc_request_reject(request, "its argument id is missing");
		return;
	}
	rpc_request_reply(request, cJSON_CreateNumber(dispatch_cancel(dispatch, id)));
	rpc_request_ack(request);
	rpc_request_free(request);
}

/* It would also have to unplug ports and volumes, which novasnapd does not do. An incomplete resize
 * must not be started. */
static void reject_resize(struct rpc_request *request, const void *method, void *opaque)
{
	(void)method;
	(void)opaque;
	g_warning("rejecting prep_snapshot_based_resize_at_source: novasnapd takes snapshots, but "
		  "does not unplug ports and volumes");
	rpc_request_fail(request, "InstanceFaultRollback", "nova.exception",
			 "novasnapd cannot prepare a cross-cell resize: it takes snapshots, but "
			 "does not unplug ports and volumes; run nova-compute on this host for "
			 "that");
	rpc_request_ack(request);
	rpc_request_free(request);
}

static const struct rpc_method methods[] = {
	{"snapshot_instance", handle_task_request, &method_snapshot_instance},
	{"backup_instance", handle_task_request, &method_backup_instance},
	{"pause_instance", handle_task_request, &method_pause_instance},
	{"unpause_instance", handle_task_request, &method_unpause_instance},
	{"suspend_instance", handle_task_request, &method_suspend_instance},
	{"resume_instance", handle_task_request, &method_resume_instance},
	{"shelve_instance", handle_task_request, &method_shelve_instance},
	{"quiesce_instance", handle_task_request, &method_quiesce_instance},
	{"unquiesce_instance", handle_task_request, &method_unquiesce_instance},
	{"volume_snapshot_create", handle_task_request, &method_volume_snapshot_create},
	{"volume_snapshot_delete", handle_task_request, &method_volume_snapshot_delete},
	{"prep_snapshot_based_resize_at_source", reject_resize, NULL},
	{DISPATCH_CANCEL, handle_cancel, NULL},
	{NULL, NULL, NULL},
};

/* Folsom and Grizzly sent 2.x, earlier releases 1.x; Zed sends 6.0, or 5.x if pinned. The newest
 * known minor version of each. */
static const char *const versions[] = {"1.44", "2.49", "5.13", "6.5", NULL};

struct rpc_server_ops dispatch_server_ops(struct dispatch *dispatch)
{
	return (struct rpc_server_ops){methods, versions, count_unhandled, dispatch};
}

const struct task_method *dispatch_find_method(const char *name)
{
	for (const struct rpc_method *method = methods; method->name; method++) {
		if (method->what && g_str_equal(method->name, name))
			return method->what;
	}
	return NULL;
}

void dispatch_each_method(void (*each)(const struct task_method *method, void *opaque),
			  void *opaque)
{
	for (const struct rpc_method *method = methods; method->name; method++) {
		if (method->what)
			each(method->what, opaque);
	}
}

bool dispatch_take(struct dispatch *dispatch, struct rpc_request *request, GError **error)
{
	const struct task_method *method = dispatch_find_method(rpc_request_method(request));

	if (method)
		return intake_take(dispatch->intake, method, request, error);
	g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE, "the method %s is not supported",
		    rpc_request_method(request));
	rpc_request_free(request);
	return false;
}
