/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files of a disk's backing chain that the domain's XML does not list. They are read from the
 * files' headers.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_DISK_CHAIN_H
#define NOVASNAP_VIRT_DOMAIN_DISK_CHAIN_H

#include <stdatomic.h>

#include "virt/domain/root-disk.h"

/* Completes the chain: reads the header of each file, in its known format, and adds the backing
 * file that the header names. That file must be in one of `dirs` (NULL-terminated; may be NULL) or
 * in the folder of the disk's top file. Where the header does not name the backing file's format,
 * it is the one that libvirt assumes (image_header_detect). Rejects a file whose header would make
 * QEMU open files outside the chain. Call it before a QEMU program opens the disk. `cancel` may be
 * NULL. Returns 0, also for a disk in Ceph, or -1 with VIRT_ERROR_UNSUPPORTED or an error of
 * process_run. */
int disk_complete_chain(struct disk *disk, const char *const *dirs, const atomic_int *cancel,
			GError **error);

#endif
