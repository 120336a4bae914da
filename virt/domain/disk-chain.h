/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files below a disk that the domain's XML does not name: read from the files' headers.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_DISK_CHAIN_H
#define NOVASNAP_VIRT_DOMAIN_DISK_CHAIN_H

#include <stdatomic.h>

#include "virt/domain/root-disk.h"

/* Completes the chain: reads the header of each file, with its known format, and adds the file that
 * it names. That file must lie in one of `dirs` (NULL-terminated; may be NULL) or in the folder of
 * the disk's top. Refuses every file whose header would make QEMU open files outside the chain. To
 * be called before any program of QEMU opens the disk. `cancel` may be NULL. Returns 0, or -1 with
 * VIRT_ERROR_UNSUPPORTED or an error of process_run. */
int disk_complete_chain(struct disk *disk, const char *const *dirs, const atomic_int *cancel,
			GError **error);

#endif
