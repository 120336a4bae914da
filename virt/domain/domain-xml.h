/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a domain's XML says about the guest as a whole, and a list of its disks.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_DOMAIN_XML_H
#define NOVASNAP_VIRT_DOMAIN_DOMAIN_XML_H

#include <glib.h>
#include <stdbool.h>

struct domain_traits {
	bool container;	   /* its type is lxc */
	bool host_devices; /* it has devices of the host, which can be neither saved nor restored */
};
/* All false where the XML cannot be parsed. */
void domain_traits_read(const char *xml, struct domain_traits *ret);

/* A disk of any kind. */
struct domain_disk {
	char *target; /* "vdb" */
	char *serial; /* NULL: none */
	char *file;   /* NULL: its source is not a plain file */
};
/* An array of struct domain_disk, of all disks that have a target; the caller unrefs it. */
GPtrArray *domain_disks(const char *xml);

#endif
