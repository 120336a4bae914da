/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Proof that a disk was not written to, independent of libvirt.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_DISK_STAMP_H
#define NOVASNAP_VIRT_DOMAIN_DISK_STAMP_H

#include "virt/domain/root-disk.h"

/*
 * A text that changes with each write to the file that the guest writes to. For a file: its
 * identity, size and time of the last write. For a block device: the kernel's number of this use of
 * the device (diskseq), and its counts of sectors that any program has written or discarded there.
 * A write that is still in the page cache is not counted yet: only who reads past the page cache,
 * which writes it out first, has read nothing newer than the counts. The caller frees the text.
 * NULL: no such proof, for example because the device's queue/iostats is off.
 */
char *disk_stamp_read(const struct disk *disk);

/* Whether the guest writes to a block device. */
bool disk_is_device(const struct disk *disk);

/* Returns 0 if the stamp of the disk is still this one. Returns -1 if somebody has written to it,
 * or replaced it: with VIRT_ERROR_BUSY for a block device, which nova overwrites before it removes
 * it; with VIRT_ERROR_INSTANT_LOST for a file. */
int disk_stamp_check(const struct disk *disk, const char *stamp, GError **error);

#endif
