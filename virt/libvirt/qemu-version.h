/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The version of the QEMU that runs a guest. It may be older than the QEMU that is installed, which
 * only later starts of the guest use.
 */
#ifndef NOVASNAP_VIRT_LIBVIRT_QEMU_VERSION_H
#define NOVASNAP_VIRT_LIBVIRT_QEMU_VERSION_H

#include <glib.h>

#include "virt/libvirt/connection.h"

/* A version as libvirt encodes it. */
#define QEMU_VERSION(major, minor, release) (1000000UL * (major) + 1000UL * (minor) + (release))

/* "7.2.22"; the caller frees it. */
char *qemu_version_text(unsigned long version);

/* Whether the QEMU of a running guest has at least this version; `domain_xml` is the guest's live
 * XML. Returns 1; 0, with the version in *ret_version; or -1 with an error if it is unknown. If
 * neither the installed QEMU nor the guest's machine type answer the question, QEMU itself is
 * asked; libvirt then marks the guest as tainted (custom-monitor), so only with `may_ask`. */
int qemu_version_is_at_least(virDomainPtr domain, const char *domain_xml, unsigned long wanted,
			     bool may_ask, unsigned long *ret_version, GError **error);

#endif
