/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Freezing the guest's filesystems as a step of a live snapshot.
 */
#include "virt/method/quiesce.h"

#include <cjson/cJSON.h>

#include "virt/domain/freeze.h"
#include "virt/steps.h"

/* Sets `why` if the filesystems cannot be frozen; `error` if the snapshot fails. */
static int try_freeze(struct snapshot *snapshot, GError **why, GError **error)
{
	cJSON *undo;

	if (!snapshot->guest_agent) {
		g_set_error_literal(why, VIRT_ERROR, VIRT_ERROR_NO_AGENT,
				    "the image lacks the property hw_qemu_guest_agent");
		return 0;
	}
	if (snapshot->first_state == VIR_DOMAIN_PAUSED) {
		g_set_error_literal(why, VIRT_ERROR, VIRT_ERROR_NO_QUIESCE,
				    "the guest and its agent are paused");
		return 0;
	}
	undo = cJSON_CreateObject();
	cJSON_AddStringToObject(undo, "id", snapshot->id);
	if (step_begin(snapshot, "freeze", undo, error) < 0)
		return -1;
	if (guest_freeze(&snapshot->guest, snapshot->id, snapshot->config->freeze_timeout_s, why) ==
	    0)
		return step_end(snapshot, "freeze", error);
	/* guest_freeze has thawed the filesystems, or left that to the watchdog. */
	step_clear(snapshot, "freeze");
	return 0;
}

int quiesce_begin(struct snapshot *snapshot, GError **error)
{
	g_autoptr(GError) why = NULL;

	if (try_freeze(snapshot, &why, error) < 0)
		return -1;
	if (!why)
		return 0;
	if (snapshot->require_quiesce) {
		g_propagate_prefixed_error(error, g_steal_pointer(&why),
					   "os_require_quiesce is set, and the guest's filesystems "
					   "cannot be frozen: ");
		return -1;
	}
	if (snapshot->guest_agent)
		g_message("guest %s: the snapshot is taken without freezing the guest's "
			  "filesystems: %s",
			  snapshot->guest.uuid, why->message);
	return 0;
}

int quiesce_end(struct snapshot *snapshot, GError **error)
{
	g_autoptr(GError) local = NULL;
	bool expired;
	int rc;

	if (!step_is_open(snapshot, "freeze"))
		return 0;
	/* The guest has written to the disk since it was thawed. */
	expired = guest_freeze_has_expired(&snapshot->guest, snapshot->id);
	rc = step_close(snapshot, "freeze", &local);
	if (rc == 0 && !expired)
		return 0;
	if (rc == 0)
		g_set_error_literal(&local, VIRT_ERROR, VIRT_ERROR_FREEZE,
				    "the guest's filesystems were thawed before the snapshot was "
				    "taken, because the time limit of the freeze was over");
	if (snapshot->require_quiesce) {
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	g_warning("guest %s: %s", snapshot->guest.uuid, local->message);
	return 0;
}
