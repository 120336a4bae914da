/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The running guests that the live method stream cannot take.
 */
#include <stdlib.h>

#include "virt/domain/domain-xml.h"
#include "virt/domain/guest-query.h"
#include "virt/domain/iothread.h"
#include "virt/domain/root-disk.h"
#include "virt/libvirt/domain-list.h"

struct live_check {
	struct virt_host *host;
	virt_unstreamed_fn each;
	void *opaque;
};

/* A guest that has just stopped, and one without a root disk, are nothing to report here. */
static void check_domain(const struct live_check *check, virDomainPtr domain)
{
	const struct guest guest = {
		.host = check->host,
		.connection = virDomainGetConnect(domain),
		.domain = domain,
	};
	g_autoptr(GError) why = NULL;
	struct domain_traits traits;
	struct disk *disk = NULL;
	char *xml = virDomainGetXMLDesc(domain, 0);

	if (!xml)
		return;
	domain_traits_read(xml, &traits);
	if (!traits.container)
		disk = root_disk_find(xml, NULL);
	/* The stream of a disk in Ceph needs nothing of QEMU. */
	if (disk && !disk_is_rbd(disk) &&
	    iothread_check_export(&guest, xml, disk->target, false, &why) < 0)
		check->each(virDomainGetName(domain), why->message, check->opaque);
	disk_free(disk);
	free(xml);
}

int virt_host_find_unstreamed(struct virt_host *host, virt_unstreamed_fn each, void *opaque,
			      GError **error)
{
	const struct live_check check = {host, each, opaque};
	g_autoptr(domain_list_t) list =
		domain_list_new(host, VIR_CONNECT_LIST_DOMAINS_ACTIVE, error);

	for (unsigned i = 0; list && i < list->count; i++)
		check_domain(&check, list->domains[i]);
	return list ? 0 : -1;
}
