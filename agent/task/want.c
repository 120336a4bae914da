/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See want.h.
 */
#include "agent/task/want.h"

static enum want guest_want(struct task *task)
{
	g_autoptr(GError) error = NULL;

	if (virt_guest_power_state(task->agent->host, nova_instance_uuid(task->instance), &error) >=
	    0)
		return WANT_YES;
	return g_error_matches(error, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN) ? WANT_NO : WANT_UNKNOWN;
}

enum want snapshot_want(struct task *task, bool is_begun)
{
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) error = NULL;
	const char *owner;

	if (!task->image_id)
		return WANT_NO;
	if (image_store_get(task->agent->store, &task->identity, task->image_id, &record, &error) <
	    0)
		return g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND) ? WANT_NO
										  : WANT_UNKNOWN;
	if (g_strcmp0(record->status, "queued") != 0 &&
	    !(is_begun && g_strcmp0(record->status, "saving") == 0))
		return WANT_NO;
	owner = cJSON_GetStringValue(
		cJSON_GetObjectItemCaseSensitive(record->document, "instance_uuid"));
	if (owner && !g_str_equal(owner, nova_instance_uuid(task->instance)))
		return WANT_NO;
	return guest_want(task);
}

bool snapshot_can_ask_deleting(const struct task *task)
{
	return task->agent->config->control && !nova_instance_is_plain(task->instance);
}

int snapshot_ask_deleting(struct task *task, struct nova_instance *instance, const char *why,
			  GError **error)
{
	if (nova_conductor_instance_refresh(task->agent->rpc, task->context, instance, error) < 0)
		return -1;
	if (!nova_task_state_is_deleting(nova_instance_string(instance, "task_state")))
		return 0;
	g_set_error(error, RPC_ERROR, RPC_ERROR_UNEXPECTED_DELETING_TASK_STATE,
		    "%s; the instance is being deleted", why);
	return -1;
}

bool snapshot_is_deleting(const GError *error)
{
	return g_error_matches(error, RPC_ERROR, RPC_ERROR_INSTANCE_NOT_FOUND) ||
	       g_error_matches(error, RPC_ERROR, RPC_ERROR_UNEXPECTED_DELETING_TASK_STATE);
}

void snapshot_explain_missing_guest(struct task *task, GError **error)
{
	g_autoptr(GError) local = NULL;

	if (!g_error_matches(*error, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN) ||
	    !snapshot_can_ask_deleting(task) ||
	    snapshot_ask_deleting(task, task->instance, (*error)->message, &local) == 0 ||
	    !snapshot_is_deleting(local))
		return;
	g_clear_error(error);
	g_propagate_error(error, g_steal_pointer(&local));
}

int snapshot_refuse_deleting(struct task *task, GError **error)
{
	if (snapshot_can_ask_deleting(task))
		return snapshot_ask_deleting(task, task->instance, "the guest is shut off", error);
	g_set_error_literal(
		error, VIRT_ERROR, VIRT_ERROR_BUSY,
		"the guest was stopped, and there is no conductor that knows whether it "
		"is being deleted: its disk, a block device, is not read again");
	return -1;
}
