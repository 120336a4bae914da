/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the cold methods have in common: the guest is saved, and comes back as it was.
 */
#include <cjson/cJSON.h>

#include "virt/internal.h"

#define RESTORE_TRIES 3

bool cold_guest_runs(int state)
{
	return state == VIR_DOMAIN_RUNNING || state == VIR_DOMAIN_BLOCKED ||
	       state == VIR_DOMAIN_PAUSED || state == VIR_DOMAIN_PMSUSPENDED;
}

int cold_prepare(struct snapshot *snapshot, GError **error)
{
	cJSON *undo;

	if (snapshot->facts.container || !cold_guest_runs(snapshot->first_state))
		return 0;
	if (snapshot->facts.host_devices) {
		g_set_error_literal(
			error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
			"the guest has devices of the host, which cannot be saved; take "
			"live snapshots of it, or shut it down first");
		return -1;
	}
	if (virDomainIsPersistent(snapshot->domain) == 0) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
				    "the domain is transient: it cannot be saved and restored; "
				    "take live snapshots of it");
		return -1;
	}
	undo = cJSON_CreateObject();
	cJSON_AddBoolToObject(undo, "paused", snapshot->first_state == VIR_DOMAIN_PAUSED);
	step_note_boot(undo);
	if (step_begin(snapshot, "save", undo, error) < 0)
		return -1;
	/* Also when the call fails half-way: libvirt may have saved it all the same. */
	snapshot->saved = true;
	if (virDomainManagedSave(snapshot->domain, 0) == 0)
		return step_end(snapshot, "save", error);
	virt_set_error(error, "saving the guest");
	return -1;
}

int cold_check_stopped(struct snapshot *snapshot, GError **error)
{
	int state;

	if (snapshot->facts.container)
		return 0;
	state = snapshot_guest_state(snapshot, error);
	if (state < 0)
		return -1;
	if (!cold_guest_runs(state))
		return 0;
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_BUSY,
			    "somebody started the guest while its disk was to be copied");
	return -1;
}

static int restore_once(struct snapshot *snapshot, GError **error)
{
	unsigned flags = snapshot->first_state == VIR_DOMAIN_PAUSED ? VIR_DOMAIN_START_PAUSED : 0;
	int state = snapshot_guest_state(snapshot, error);
	int saved;

	if (state < 0)
		return -1;
	if (cold_guest_runs(state))
		return 0;
	saved = virDomainHasManagedSaveImage(snapshot->domain, 0);
	if (saved < 0) {
		virt_set_error(error, "asking whether the guest is saved");
		return -1;
	}
	/* It died while it was saved, or somebody ended it: it is not ours to boot. */
	if (saved == 0)
		return 0;
	if (step_begin(snapshot, "restore", NULL, error) < 0)
		return -1;
	if (virDomainCreateWithFlags(snapshot->domain, flags) == 0)
		return step_end(snapshot, "restore", error);
	virt_set_error(error, "restoring the guest, which is left saved: virsh start does it");
	return -1;
}

int cold_restore(struct snapshot *snapshot, GError **error)
{
	if (!snapshot->saved)
		return 0;
	snapshot->saved = false;
	for (int i = 1;; i++) {
		g_autoptr(GError) local = NULL;

		if (restore_once(snapshot, &local) == 0) {
			step_over(snapshot, "save");
			return 0;
		}
		if (i == RESTORE_TRIES || snapshot_is_cut_off(snapshot)) {
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
		g_warning("guest %s: %s; tried again", snapshot->uuid, local->message);
		g_usleep(G_USEC_PER_SEC);
	}
}
