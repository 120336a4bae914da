/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls of qemu-img. Every format is named, so that qemu-img never probes one. All functions return
 * 0, or -1 with an error of process_run; `cancel` may be NULL.
 */
#ifndef NOVASNAP_VIRT_QEMU_IMG_H
#define NOVASNAP_VIRT_QEMU_IMG_H

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Creates a qcow2 file of `size` bytes. Does not open the backing file; without one if
 * `backing_path` is NULL. */
int qemu_img_create_delta(const char *path, uint64_t size, const char *backing_path,
			  const char *backing_format, const atomic_int *cancel, GError **error);

/* Creates the internal snapshot `name` in the disk `source`, a json: filename (snapshot -c). */
int qemu_img_snapshot_create(const char *source, const char *name, const atomic_int *cancel,
			     GError **error);
/* Deletes it (snapshot -d). */
int qemu_img_snapshot_delete(const char *source, const char *name, GError **error);
/* Whether the top file of `source` has an internal snapshot of that name: 1, 0, or -1 with an
 * error. */
int qemu_img_snapshot_exists(const char *source, const char *name, GError **error);

/* Changes the backing file of a qcow2 file to `base` (NULL: none), and copies the data of the
 * skipped files into it. `base` is written into the header as it is; a relative name is relative to
 * the folder of `path`. */
int qemu_img_rebase(const char *path, const char *base, const char *base_format,
		    const atomic_int *cancel, GError **error);

/* Copies the disk `source`, a json: filename, or its internal snapshot `internal` (NULL: none), to
 * a new file of that format. `compression` is that of a qcow2 file: "zlib" or "zstd"; NULL: none.
 */
int qemu_img_convert(const char *source, const char *internal, const char *target,
		     const char *format, const char *compression, const atomic_int *cancel,
		     GError **error);

#endif
