/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which guests of this host novasnapd would refuse to take a snapshot of, for `novasnap check`.
 */
#include "virt/domain/disk-chain.h"
#include "virt/libvirt/domain-list.h"
#include "virt/method/method.h"

/* Whether a snapshot of the guest, in its present state, can begin. Changes nothing. */
static int check_guest(struct virt_host *host, const char *uuid, GError **error)
{
	const struct snapshot_request request = {.uuid = uuid};
	struct snapshot *snapshot = snapshot_new(host, &request, error);
	int rc = snapshot ? 0 : -1;

	/* QEMU itself reads the chain of a guest that is streamed while it runs. */
	if (snapshot && !(snapshot->method->live && snapshot->method->open))
		rc = disk_complete_chain(snapshot->disk, host->config->backing_dirs, NULL, error);
	if (snapshot)
		(void)snapshot_end(snapshot, NULL);
	return rc;
}

static int check_domain(struct virt_host *host, virDomainPtr domain, virt_refused_fn each,
			void *opaque, GError **error)
{
	char uuid[VIR_UUID_STRING_BUFLEN];
	g_autoptr(GError) local = NULL;

	if (virDomainGetUUIDString(domain, uuid) < 0 || check_guest(host, uuid, &local) == 0)
		return 0;
	if (g_error_matches(local, VIRT_ERROR, VIRT_ERROR_DISCONNECTED) ||
	    g_error_matches(local, VIRT_ERROR, VIRT_ERROR_TIMEOUT)) {
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	/* It may have been deleted meanwhile. */
	if (!g_error_matches(local, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN))
		each(virDomainGetName(domain), uuid, local->message, opaque);
	return 0;
}

int virt_host_find_refused(struct virt_host *host, unsigned limit_s, virt_refused_fn each,
			   void *opaque, struct virt_guest_count *ret_count, GError **error)
{
	gint64 until = g_get_monotonic_time() + (gint64)limit_s * G_USEC_PER_SEC;
	g_autoptr(domain_list_t) list = domain_list_new(host, 0, error);

	*ret_count = (struct virt_guest_count){.total = list ? list->count : 0};
	if (!list)
		return -1;
	while (ret_count->checked < list->count && g_get_monotonic_time() < until) {
		if (check_domain(host, list->domains[ret_count->checked], each, opaque, error) < 0)
			return -1;
		ret_count->checked++;
	}
	return 0;
}
