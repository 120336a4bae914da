/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See domain-list.h.
 */
#include "virt/libvirt/domain-list.h"

#include <stdlib.h>

struct domain_list *domain_list_new(const struct virt_host *host, unsigned flags, GError **error)
{
	virConnectPtr connection = virt_connect(host, error);
	virDomainPtr *domains = NULL;
	struct domain_list *list;
	int count;

	if (!connection)
		return NULL;
	count = virConnectListAllDomains(connection, &domains, flags);
	if (count < 0) {
		virt_set_error(error, "listing the guests");
		(void)virConnectClose(connection);
		return NULL;
	}
	list = g_new0(struct domain_list, 1);
	list->connection = connection;
	list->domains = domains;
	list->count = (unsigned)count;
	return list;
}

void domain_list_free(struct domain_list *list)
{
	if (!list)
		return;
	for (unsigned i = 0; i < list->count; i++)
		(void)virDomainFree(list->domains[i]);
	free(list->domains);
	(void)virConnectClose(list->connection);
	g_free(list);
}
