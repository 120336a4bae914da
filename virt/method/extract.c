/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The cold method extract: a running guest is saved, its disk is copied while nothing writes to it,
 * and the guest is restored before the upload. A guest that is shut down, or suspended by its user,
 * stays as it is.
 */
#include "virt/domain/disk-chain.h"
#include "virt/domain/disk-filename.h"
#include "virt/domain/disk-stamp.h"
#include "virt/method/copy-out.h"
#include "virt/method/disk-watch.h"
#include "virt/method/managed-save.h"

/* Explains why the watch has ended the copy. */
static int explain_ended(struct snapshot *snapshot, GError *why, GError **error)
{
	bool is_ended = g_error_matches(why, VIRT_ERROR, VIRT_ERROR_CANCELLED);

	if (is_ended && (disk_watch_check(snapshot->disk_watch, error) < 0 ||
			 managed_save_check_stopped(snapshot, error) < 0))
		g_error_free(why);
	else
		g_propagate_error(error, why);
	return -1;
}

/* A block device may be the volume of an instance that is being deleted: it is let go of at once.
 */
static int copy_watched(struct snapshot *snapshot, const char *source, GError **error)
{
	GError *why = NULL;
	int rc;

	if (snapshot->traits.container || !disk_is_device(snapshot->disk))
		return snapshot_copy_out_idle(snapshot, source, error);
	g_free(snapshot->disk_stamp);
	snapshot->disk_stamp = disk_stamp_read(snapshot->disk);
	snapshot->disk_watch = disk_watch_start(snapshot, NULL, error);
	if (!snapshot->disk_watch)
		return -1;
	rc = snapshot_copy_out(snapshot, source, NULL, &why);
	if (rc < 0)
		rc = explain_ended(snapshot, why, error);
	else if (snapshot->disk_stamp)
		rc = disk_stamp_check(snapshot->disk, snapshot->disk_stamp, error);
	disk_watch_stop(g_steal_pointer(&snapshot->disk_watch));
	return rc;
}

static int extract_take(struct snapshot *snapshot, GError **error)
{
	g_autofree char *source = NULL;

	if (managed_save_check_stopped(snapshot, error) < 0 ||
	    disk_complete_chain(snapshot->disk, snapshot->config->backing_dirs, snapshot->cancel,
				error) < 0)
		return -1;
	source = disk_json_filename(snapshot->disk, 0);
	if (copy_watched(snapshot, source, error) < 0)
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
