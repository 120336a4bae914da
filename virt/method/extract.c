/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The method extract, cold: a guest that runs is saved, its disk is copied while nobody writes, and
 * the guest is restored before the upload. A guest that is shut down, or suspended by its user, is
 * left as it is.
 */
#include "virt/domain/disk-chain.h"
#include "virt/domain/disk-filename.h"
#include "virt/method/copy-out.h"
#include "virt/method/managed-save.h"

static int extract_take(struct snapshot *snapshot, GError **error)
{
	g_autofree char *source = NULL;

	if (managed_save_check_stopped(snapshot, error) < 0 ||
	    disk_complete_chain(snapshot->disk, snapshot->config->backing_dirs, snapshot->cancel,
				error) < 0)
		return -1;
	source = disk_json_filename(snapshot->disk, 0);
	if (snapshot_copy_out(snapshot, source, NULL, error) < 0)
		return -1;
	/* QEMU's lock keeps a second writer away from a qcow2 file, but not from a raw one. */
	return managed_save_check_stopped(snapshot, error);
}

const struct snapshot_method method_extract = {
	.name = "extract",
	.live = false,
	.prepare = managed_save_begin,
	.take = extract_take,
};
