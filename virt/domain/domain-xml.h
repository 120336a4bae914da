/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Properties of a guest, and its disks, from the domain's XML.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_DOMAIN_XML_H
#define NOVASNAP_VIRT_DOMAIN_DOMAIN_XML_H

#include <glib.h>
#include <stdbool.h>

struct domain_traits {
	bool container;	   /* the domain type is lxc */
	bool host_devices; /* it cannot be saved, as host devices are passed through */
};
/* All false if the XML cannot be parsed. */
void domain_traits_read(const char *xml, struct domain_traits *ret);

/* A disk of any type. */
struct domain_disk {
	char *target; /* "vdb" */
	char *type;   /* libvirt's: "file", "network", ...; NULL: none */
	char *serial; /* NULL: none */
	char *file;   /* NULL: its source is not a file */
	char *format; /* NULL: not reported */
};
/* All disks that have a target, as an array of struct domain_disk; the caller unrefs it. */
GPtrArray *domain_disks(const char *xml);

/* Whether an iothread serves the disk `target`, by itself or through its virtio-scsi controller.
 * Returns words for a message, "has an iothread", or NULL. */
const char *domain_disk_iothread(const char *xml, const char *target);

#endif
