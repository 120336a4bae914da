/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copies a disk to the finished image with qemu-img.
 */
#ifndef NOVASNAP_VIRT_METHOD_COPY_OUT_H
#define NOVASNAP_VIRT_METHOD_COPY_OUT_H

#include "virt/method/method.h"

/* Copies `source`, a json: filename, or its internal snapshot `internal` (NULL: none), to
 * snapshot->image. The disk watch ends it, if there is one. Returns 0, or -1 with an error of
 * qemu_img_convert. */
int snapshot_copy_out(struct snapshot *snapshot, const char *source, const char *internal,
		      GError **error);

/* As snapshot_copy_out, for a disk that nobody may write to meanwhile: afterwards its stamp must be
 * the same, else it fails with the error of disk_stamp_check. A container's guest may write to its
 * disk. */
int snapshot_copy_out_idle(struct snapshot *snapshot, const char *source, GError **error);

#endif
