/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copies a disk to the finished image with qemu-img.
 */
#include "virt/method/copy-out.h"

#include "virt/domain/disk-stamp.h"
#include "virt/method/disk-watch.h"
#include "virt/qemu-img.h"
#include "virt/steps.h"

int snapshot_copy_out(struct snapshot *snapshot, const char *source, const char *internal,
		      GError **error)
{
	if (step_begin(snapshot, "copy-out", NULL, error) < 0 ||
	    qemu_img_convert(
		    source, internal, snapshot->image, snapshot->format, snapshot->compression,
		    snapshot->disk_watch ? disk_watch_flag(snapshot->disk_watch) : snapshot->cancel,
		    error) < 0)
		return -1;
	return step_end(snapshot, "copy-out", error);
}

int snapshot_copy_out_idle(struct snapshot *snapshot, const char *source, GError **error)
{
	g_autofree char *stamp =
		snapshot->traits.container ? NULL : disk_stamp_read(snapshot->disk);

	if (snapshot_copy_out(snapshot, source, NULL, error) < 0)
		return -1;
	return stamp ? disk_stamp_check(snapshot->disk, stamp, error) : 0;
}
