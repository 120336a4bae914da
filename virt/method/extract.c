/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cold: a guest that runs is saved, its disk is copied while nobody writes, and it is restored,
 * before the upload. A guest that is shut down, or suspended by its user, is left as it is.
 */
#include "virt/internal.h"

static int take(struct snapshot *snapshot, GError **error)
{
	g_autofree char *source = NULL;

	if (cold_check_stopped(snapshot, error) < 0)
		return -1;
	if (disk_complete_chain(snapshot->disk, host_config(snapshot->host)->backing_dirs,
				snapshot->cancel, error) < 0)
		return -1;
	source = disk_json_name(snapshot->disk, 0);
	if (snapshot_copy_out(snapshot, source, NULL, error) < 0)
		return -1;
	/* QEMU's lock keeps a second writer out of qcow2, but not out of raw. */
	return cold_check_stopped(snapshot, error);
}

const struct snapshot_method method_extract = {
	.name = "extract",
	.live = false,
	.prepare = cold_prepare,
	.take = take,
	.undo = cold_restore,
};
