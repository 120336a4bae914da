/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The cold method internal, as in Folsom: the guest is saved, a snapshot is created inside its
 * qcow2 disk, copied and deleted, and the guest is restored (nova.virt.libvirt.driver.snapshot and
 * images.Qcow2 of 2012.2). Disks of other formats have no internal snapshots, and are copied as
 * they are.
 */
#include <cjson/cJSON.h>

#include "virt/domain/disk-chain.h"
#include "virt/domain/disk-filename.h"
#include "virt/method/copy-out.h"
#include "virt/method/managed-save.h"
#include "virt/qemu-img.h"
#include "virt/steps.h"

static int create_internal_snapshot(struct snapshot *snapshot, const char *source, const char *name,
				    GError **error)
{
	cJSON *undo = cJSON_CreateObject();

	cJSON_AddStringToObject(undo, "disk", source);
	cJSON_AddStringToObject(undo, "name", name);
	if (step_begin(snapshot, "internal", undo, error) < 0 ||
	    qemu_img_snapshot_create(source, name, snapshot->cancel, error) < 0)
		return -1;
	return step_end(snapshot, "internal", error);
}

static int internal_take(struct snapshot *snapshot, GError **error)
{
	bool is_qcow2 = g_str_equal(disk_top(snapshot->disk)->format, "qcow2");
	g_autofree char *name = g_strdup_printf("novasnap-%s", snapshot->id);
	g_autofree char *source = NULL;

	if (managed_save_check_stopped(snapshot, error) < 0 ||
	    disk_complete_chain(snapshot->disk, snapshot->config->backing_dirs, snapshot->cancel,
				error) < 0)
		return -1;
	source = disk_json_filename(snapshot->disk, 0);
	if (is_qcow2 && create_internal_snapshot(snapshot, source, name, error) < 0)
		return -1;
	/* The internal snapshot does not change when the guest writes to the disk. */
	if (is_qcow2)
		return snapshot_copy_out(snapshot, source, name, error);
	if (snapshot_copy_out_idle(snapshot, source, error) < 0)
		return -1;
	return managed_save_check_stopped(snapshot, error);
}

const struct snapshot_method method_internal = {
	.name = "internal",
	.live = false,
	.prepare = managed_save_begin,
	.take = internal_take,
};
