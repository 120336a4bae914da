/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether QEMU's own NBD server may serve a disk. Before 8.2.3 and 9.0 QEMU aborts when a client
 * disconnects from the export of a disk that an iothread serves (blockdev-nbd.c: the function
 * nbd_blockdev_client_closed asserts that it runs in the main thread). That kills the guest.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_IOTHREAD_H
#define NOVASNAP_VIRT_DOMAIN_IOTHREAD_H

#include "virt/domain/guest.h"

/* Checks the disk `target` of a running guest; `domain_xml` is its live XML. Without `may_ask` the
 * guest is not changed (see qemu-version.h). Returns 0, or -1 with VIRT_ERROR_UNSUPPORTED if the
 * guest would be killed, or if the version of its QEMU is unknown. */
int iothread_check_export(const struct guest *guest, const char *domain_xml, const char *target,
			  bool may_ask, GError **error);

#endif
