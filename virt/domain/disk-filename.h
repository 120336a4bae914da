/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk as a QEMU json: filename, which names the driver of every file in it. QEMU programs are
 * given no other kind of name, so they never probe a format. The chain must be complete. The caller
 * frees the returned strings.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_DISK_FILENAME_H
#define NOVASNAP_VIRT_DOMAIN_DISK_FILENAME_H

#include "virt/domain/root-disk.h"

/* The chain starting at the layer `from` (0: the whole disk). */
char *disk_json_filename(const struct disk *disk, guint from);

/* The whole chain, opened without QEMU's image locks, so that another process may still open it for
 * writing. With `direct`, the page cache is bypassed if the filesystems support that. */
char *disk_json_filename_shared(const struct disk *disk, bool direct);
/* Whether the page cache can be bypassed for the whole chain. */
bool disk_supports_direct(const struct disk *disk);

/* The chain starting at the layer `from`, with the file `qcow2` as its overlay. */
char *disk_json_filename_over(const struct disk *disk, guint from, const char *qcow2);

/* Whether the top file of a json: filename (or a plain path) no longer exists. */
bool disk_json_filename_is_gone(const char *filename);

#endif
