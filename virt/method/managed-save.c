/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Common code of the cold methods: a running guest is saved while its disk is copied.
 */
#include "virt/method/managed-save.h"

#include <cjson/cJSON.h>

#include "virt/domain/guest-query.h"
#include "virt/steps.h"

#define SHUT_OFF_TIMEOUT_S 60
#define SHUT_OFF_POLL_US (G_USEC_PER_SEC / 20)

static int refuse_to_save(const char *why, GError **error)
{
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED, why);
	return -1;
}

/* Whether libvirt has answered that it did not save the guest. `code` is that of libvirt's error.
 * Where the connection broke, libvirt may still be saving. */
static bool is_not_saved(struct snapshot *snapshot, int code, const GError *refused)
{
	if (g_error_matches(refused, VIRT_ERROR, VIRT_ERROR_DISCONNECTED) ||
	    !guest_is_connected(&snapshot->guest))
		return false;
	/* It does not run any more, or cannot be saved. A managed save image, which it may have, is
	 * another program's: the guest was suspended meanwhile. */
	return code == VIR_ERR_OPERATION_INVALID ||
	       guest_has_managed_save(&snapshot->guest, NULL) == GUEST_NO;
}

int managed_save_begin(struct snapshot *snapshot, GError **error)
{
	g_autoptr(GError) refused = NULL;
	enum guest_answer persistent;
	cJSON *undo;
	int code;

	if (snapshot->traits.container || !guest_state_is_active(snapshot->first_state))
		return 0;
	if (snapshot->traits.host_devices)
		return refuse_to_save("the guest has host devices, which cannot be saved; take "
				      "live snapshots of it, or shut it down first",
				      error);
	persistent = guest_is_persistent(&snapshot->guest, error);
	if (persistent == GUEST_UNKNOWN)
		return -1;
	if (persistent == GUEST_NO)
		return refuse_to_save("the domain is transient: it cannot be saved and restored; "
				      "take live snapshots of it",
				      error);
	undo = cJSON_CreateObject();
	cJSON_AddBoolToObject(undo, "paused", snapshot->first_state == VIR_DOMAIN_PAUSED);
	step_note_process(undo);
	if (step_begin(snapshot, "save", undo, error) < 0)
		return -1;
	/* If the call fails, libvirt may have saved the guest nevertheless: the step stays open. */
	if (virDomainManagedSave(snapshot->guest.domain, 0) == 0)
		return step_end(snapshot, "save", error);
	code = virGetLastErrorCode();
	virt_set_error(&refused, "saving the guest");
	/* Otherwise the rollback would wait for the job of another program, which libvirt may have
	 * refused the save for. */
	if (is_not_saved(snapshot, code, refused))
		step_clear(snapshot, "save");
	g_propagate_error(error, g_steal_pointer(&refused));
	return -1;
}

/* While a guest shuts down, QEMU still writes. Returns the state after that, or -1. */
static int wait_shut_off(struct snapshot *snapshot, GError **error)
{
	gint64 until = g_get_monotonic_time() + SHUT_OFF_TIMEOUT_S * G_USEC_PER_SEC;
	int state;

	while ((state = guest_state(&snapshot->guest, NULL, error)) == VIR_DOMAIN_SHUTDOWN) {
		if (g_get_monotonic_time() > until) {
			g_set_error(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT,
				    "the guest is still shutting down after %d s",
				    SHUT_OFF_TIMEOUT_S);
			return -1;
		}
		g_usleep(SHUT_OFF_POLL_US);
	}
	return state;
}

int managed_save_check_stopped(struct snapshot *snapshot, GError **error)
{
	int state;

	if (snapshot->traits.container)
		return 0;
	state = wait_shut_off(snapshot, error);
	if (state < 0)
		return -1;
	if (!guest_state_is_active(state))
		return 0;
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_BUSY,
			    "the guest was started before or during the copy of its disk");
	return -1;
}
