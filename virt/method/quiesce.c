/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Freezing as a step of a live snapshot: where the image asks for it, and as far as it requires it.
 */
#include <cjson/cJSON.h>

#include "virt/internal.h"

/* Nothing, where it cannot be frozen and need not be. */
int quiesce_begin(struct snapshot *snapshot, GError **error)
{
	g_autoptr(GError) local = NULL;

	if (!snapshot->guest_agent)
		g_set_error_literal(&local, VIRT_ERROR, VIRT_ERROR_NO_AGENT,
				    "the image lacks the property hw_qemu_guest_agent");
	else if (snapshot->first_state == VIR_DOMAIN_PAUSED)
		g_set_error_literal(&local, VIRT_ERROR, VIRT_ERROR_NO_QUIESCE,
				    "the guest is paused, and its agent with it");
	else if (step_begin(snapshot, "freeze", cJSON_CreateObject(), error) < 0)
		return -1;
	else
		snapshot->frozen =
			freeze_begin(snapshot->host, snapshot->domain,
				     host_config(snapshot->host)->freeze_timeout_s, &local);
	if (snapshot->frozen)
		return step_end(snapshot, "freeze", error);
	step_over(snapshot, "freeze");
	if (snapshot->require_quiesce) {
		g_propagate_prefixed_error(error, g_steal_pointer(&local),
					   "os_require_quiesce is set, and the guest's filesystems "
					   "cannot be frozen: ");
		return -1;
	}
	if (snapshot->guest_agent)
		g_message("guest %s: the snapshot goes on without its filesystems being frozen: %s",
			  snapshot->uuid, local->message);
	return 0;
}

/* A guest that was thawed too early wrote before the copy ended. */
int quiesce_end(struct snapshot *snapshot, GError **error)
{
	g_autoptr(GError) local = NULL;

	if (!snapshot->frozen)
		return 0;
	if (step_begin(snapshot, "thaw", NULL, &local) == 0 &&
	    freeze_end(g_steal_pointer(&snapshot->frozen), &local) == 0 &&
	    step_end(snapshot, "thaw", &local) == 0) {
		step_over(snapshot, "freeze");
		return 0;
	}
	if (snapshot->require_quiesce) {
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	g_warning("guest %s: %s", snapshot->uuid, local->message);
	return 0;
}
