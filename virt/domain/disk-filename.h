/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk as a json: filename of QEMU, which names the driver of every file in it: programs of QEMU
 * open a disk only by such a name, so that they probe no format. The chain must be complete. The
 * caller frees the names.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_DISK_FILENAME_H
#define NOVASNAP_VIRT_DOMAIN_DISK_FILENAME_H

#include "virt/domain/root-disk.h"

/* The chain from the layer `from` down (0: the whole disk). */
char *disk_json_filename(const struct disk *disk, guint from);

/* The whole chain, opened without QEMU's locks: another process may still open it for writing. With
 * `direct` past the page cache, where the filesystems support that. */
char *disk_json_filename_shared(const struct disk *disk, bool direct);

/* The chain from the layer `from` down, with the file `qcow2` as its overlay. */
char *disk_json_filename_over(const struct disk *disk, guint from, const char *qcow2);

/* Whether the file at the top of a json: filename (or a plain path) is not there any more. */
bool disk_json_filename_is_gone(const char *filename);

#endif
