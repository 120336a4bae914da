/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copying a disk into the finished image, by qemu-img.
 */
#ifndef NOVASNAP_VIRT_METHOD_COPY_OUT_H
#define NOVASNAP_VIRT_METHOD_COPY_OUT_H

#include "virt/method/method.h"

/* Copies `source`, a json: filename, or the snapshot `internal` inside it (NULL: none), into
 * snapshot->image. Returns 0, or -1 with an error of qemu_img_convert. */
int snapshot_copy_out(struct snapshot *snapshot, const char *source, const char *internal,
		      GError **error);

#endif
