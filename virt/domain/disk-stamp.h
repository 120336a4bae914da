/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Proof that a disk was not written to, independent of libvirt.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_DISK_STAMP_H
#define NOVASNAP_VIRT_DOMAIN_DISK_STAMP_H

#include "virt/domain/root-disk.h"

/* A text that changes with each write to the file that the guest writes to: for a file, its
 * identity, size and times of change; for a block device, the kernel's count of writes. The caller
 * frees it. NULL: the file does not allow such a proof. */
char *disk_stamp_read(const struct disk *disk);

#endif
