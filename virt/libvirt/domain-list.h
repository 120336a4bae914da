/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The domains of this host's libvirt.
 */
#ifndef NOVASNAP_VIRT_LIBVIRT_DOMAIN_LIST_H
#define NOVASNAP_VIRT_LIBVIRT_DOMAIN_LIST_H

#include "virt/libvirt/connection.h"

struct domain_list {
	virConnectPtr connection;
	virDomainPtr *domains;
	unsigned count;
};

/* Lists the domains that `flags` select (VIR_CONNECT_LIST_DOMAINS_*; 0: all). NULL with an error.
 */
struct domain_list *domain_list_new(const struct virt_host *host, unsigned flags, GError **error);
/* Accepts NULL. */
void domain_list_free(struct domain_list *list);
typedef struct domain_list domain_list_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(domain_list_t, domain_list_free)

#endif
