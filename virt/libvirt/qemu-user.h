/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The user that libvirt runs QEMU as. virt.h declares the public functions.
 */
#ifndef NOVASNAP_VIRT_LIBVIRT_QEMU_USER_H
#define NOVASNAP_VIRT_LIBVIRT_QEMU_USER_H

#include "virt/libvirt/connection.h"

/* The user of a running domain, if `domain_xml` is given and names one; else the host's default.
 * Returns 0, or -1 with VIRT_ERROR_FAILED. */
int qemu_user_find(virConnectPtr connection, const char *domain_xml, struct virt_user *ret_user,
		   GError **error);

#endif
