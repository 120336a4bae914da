/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether QEMU's own NBD server may serve a disk.
 */
#include "virt/domain/iothread.h"

#include "virt/domain/domain-xml.h"
#include "virt/libvirt/qemu-version.h"

/* No release lies between 8.2.x and 9.0. */
#define FIRST_SAFE QEMU_VERSION(8, 2, 3)

int iothread_check_export(const struct guest *guest, const char *domain_xml, const char *target,
			  bool may_ask, GError **error)
{
	const char *iothread = domain_disk_iothread(domain_xml, target);
	g_autofree char *safe = qemu_version_text(FIRST_SAFE);
	g_autofree char *number = NULL;
	g_autofree char *version = NULL;
	g_autoptr(GError) unknown = NULL;
	unsigned long running = 0;
	int rc;

	if (!iothread)
		return 0;
	rc = qemu_version_is_at_least(guest->domain, domain_xml, FIRST_SAFE, may_ask, &running,
				      &unknown);
	if (rc == 1)
		return 0;
	number = qemu_version_text(running);
	version = rc == 0 ? g_strdup_printf("is %s", number)
			  : g_strdup_printf("has an unknown version (%s)", unknown->message);
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
		    "disk %s %s, and the guest's QEMU %s: before %s, QEMU aborts when a client "
		    "disconnects from such a disk",
		    target, iothread, version, safe);
	return -1;
}
