/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See restore.h.
 */
#include "virt/domain/restore.h"

#include "virt/domain/guest-query.h"

/* Much longer than libvirt needs to note a save whose guest has stopped. */
#define NOTED_TIMEOUT_S 10
#define NOTED_POLL_US (G_USEC_PER_SEC / 5)

/* Whether the guest is saved. libvirt notes the image only after the guest has stopped because of
 * the save, so this is asked again for a while. After that, somebody has removed the image. */
static enum guest_answer is_saved(struct guest *guest, GError **error)
{
	gint64 until = g_get_monotonic_time() + NOTED_TIMEOUT_S * G_USEC_PER_SEC;

	for (;;) {
		enum guest_answer saved = guest_has_managed_save(guest, error);
		g_autoptr(GError) local = NULL;
		int state, reason;

		if (saved != GUEST_NO)
			return saved;
		state = guest_state(guest, &reason, &local);
		if (g_error_matches(local, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN))
			return GUEST_NO;
		if (state < 0) {
			g_propagate_error(error, g_steal_pointer(&local));
			return GUEST_UNKNOWN;
		}
		if (state != VIR_DOMAIN_SHUTOFF || reason != VIR_DOMAIN_SHUTOFF_SAVED ||
		    g_get_monotonic_time() > until)
			return GUEST_NO;
		g_usleep(NOTED_POLL_US);
	}
}

/* libvirtd was restarted during the save, and the guest kept running. Its next start would combine
 * the saved memory with a newer disk. Not while another program may be saving the guest: then the
 * image would be all that is left of its memory. */
static int remove_managed_save(struct guest *guest, GError **error)
{
	enum guest_answer busy = guest_has_job(guest, error);
	enum guest_answer active = busy == GUEST_NO ? guest_is_active(guest, error) : GUEST_UNKNOWN;

	if (busy == GUEST_YES || active == GUEST_NO)
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_BUSY,
				    "another program is saving or stopping the guest: its managed "
				    "save image is kept for now");
	if (active != GUEST_YES)
		return -1;
	if (virDomainManagedSaveRemove(guest->domain, 0) == 0)
		return 0;
	virt_set_error(error, "removing the managed save image of a running guest");
	return -1;
}

/* Whether the guest runs is asked last. Otherwise a guest that another program suspends meanwhile
 * would be taken for one that runs and has an old image. */
int guest_restore(struct guest *guest, bool paused, GError **error)
{
	enum guest_answer saved, active;

	if (guest_wait_idle(guest, error) < 0)
		return -1;
	saved = is_saved(guest, error);
	if (saved != GUEST_YES)
		return saved == GUEST_NO ? 0 : -1;
	active = guest_is_active(guest, error);
	if (active != GUEST_NO)
		return active == GUEST_YES ? remove_managed_save(guest, error) : -1;
	if (virDomainCreateWithFlags(guest->domain, paused ? VIR_DOMAIN_START_PAUSED : 0) < 0) {
		virt_set_error(
			error,
			"restoring the guest, which is still saved (virsh start restores it)");
		return -1;
	}
	g_info("guest %s: restored", guest->uuid);
	return 0;
}
