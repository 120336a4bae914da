/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cold: a guest that runs is saved, its disk is copied while nobody writes, and it is restored,
 * before the upload. A guest that is shut down, or suspended by its user, is left as it is.
 */
#include "virt/internal.h"

#define RESTORE_TRIES 3

static bool runs(int state)
{
	return state == VIR_DOMAIN_RUNNING || state == VIR_DOMAIN_BLOCKED ||
	       state == VIR_DOMAIN_PAUSED || state == VIR_DOMAIN_PMSUSPENDED;
}

static int prepare(struct snapshot *snapshot, GError **error)
{
	if (!runs(snapshot->first_state))
		return 0;
	if (virDomainIsPersistent(snapshot->domain) == 0) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
				    "the domain is transient: it cannot be saved and restored; "
				    "take live snapshots of it");
		return -1;
	}
	/* Also when the call fails half-way: libvirt may have saved it all the same. */
	snapshot->saved = true;
	if (virDomainManagedSave(snapshot->domain, 0) == 0)
		return 0;
	virt_set_error(error, "saving the guest");
	return -1;
}

static int restore_once(struct snapshot *snapshot, GError **error)
{
	unsigned flags = snapshot->first_state == VIR_DOMAIN_PAUSED ? VIR_DOMAIN_START_PAUSED : 0;
	int state = snapshot_guest_state(snapshot, error);

	if (state < 0)
		return -1;
	if (runs(state))
		return 0;
	if (virDomainCreateWithFlags(snapshot->domain, flags) == 0)
		return 0;
	virt_set_error(error, "restoring the guest, which is left saved: virsh start does it");
	return -1;
}

static int undo(struct snapshot *snapshot, GError **error)
{
	if (!snapshot->saved)
		return 0;
	snapshot->saved = false;
	for (int i = 1;; i++) {
		g_autoptr(GError) local = NULL;

		if (restore_once(snapshot, &local) == 0)
			return 0;
		if (i == RESTORE_TRIES) {
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
		g_warning("guest %s: %s; tried again", snapshot->uuid, local->message);
		g_usleep(G_USEC_PER_SEC);
	}
}

static int take(struct snapshot *snapshot, GError **error)
{
	g_autofree char *source = NULL;
	int state = snapshot_guest_state(snapshot, error);

	if (state < 0)
		return -1;
	if (runs(state)) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_BUSY,
				    "somebody started the guest while its snapshot was prepared");
		return -1;
	}
	if (disk_complete_chain(snapshot->disk, snapshot->cancel, error) < 0)
		return -1;
	source = disk_json_name(snapshot->disk, 0);
	if (qemu_img_convert(source, snapshot->flat, snapshot->format,
			     host_config(snapshot->host)->snapshot_compression, snapshot->cancel,
			     error) < 0)
		return -1;
	/* QEMU's lock keeps a second writer out of qcow2, but not out of raw. */
	state = snapshot_guest_state(snapshot, error);
	if (state >= 0 && runs(state))
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_BUSY,
				    "somebody started the guest while its disk was copied");
	return state < 0 || runs(state) ? -1 : 0;
}

const struct snapshot_method method_extract = {
	.name = "extract",
	.live = false,
	.prepare = prepare,
	.take = take,
	.undo = undo,
};
