/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The cold method extract: a running guest is saved, its disk is copied while nothing writes to it,
 * and the guest is restored before the upload. A guest that is shut down, or suspended by its user,
 * stays as it is.
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
	/* QEMU's image lock excludes a second writer for qcow2 files, but not for raw ones. */
	return managed_save_check_stopped(snapshot, error);
}

const struct snapshot_method method_extract = {
	.name = "extract",
	.live = false,
	.prepare = managed_save_begin,
	.take = extract_take,
};
