/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cold, as Folsom did it: the guest is saved, a snapshot is made inside its qcow2 disk, that
 * snapshot is copied, and deleted again; then the guest is restored
 * (nova.virt.libvirt.driver.snapshot and images.Qcow2 of 2012.2). A disk of another format has no
 * snapshots inside: it is copied as it is.
 */
#include <cjson/cJSON.h>

#include "virt/internal.h"

#define UNDO_TRIES 3

static char *whole_chain(struct snapshot *snapshot, GError **error)
{
	if (disk_complete_chain(snapshot->disk, host_config(snapshot->host)->backing_dirs,
				snapshot->cancel, error) < 0)
		return NULL;
	return disk_json_name(snapshot->disk, 0);
}

static int create(struct snapshot *snapshot, const char *source, GError **error)
{
	g_autofree char *id = g_uuid_string_random();
	cJSON *undo;

	if (!g_str_equal(disk_top(snapshot->disk)->format, "qcow2"))
		return 0;
	snapshot->internal = g_strdup_printf("novasnap-%.8s", id);
	undo = cJSON_CreateObject();
	cJSON_AddStringToObject(undo, "disk", source);
	cJSON_AddStringToObject(undo, "name", snapshot->internal);
	if (step_begin(snapshot, "internal", undo, error) < 0) {
		g_clear_pointer(&snapshot->internal, g_free);
		return -1;
	}
	/* Also when it fails half-way. */
	if (qemu_img_snapshot(source, true, snapshot->internal, snapshot->cancel, error) < 0)
		return -1;
	return step_end(snapshot, "internal", error);
}

static int take(struct snapshot *snapshot, GError **error)
{
	g_autofree char *source = NULL;

	if (cold_check_stopped(snapshot, error) < 0)
		return -1;
	source = whole_chain(snapshot, error);
	if (!source || create(snapshot, source, error) < 0)
		return -1;
	if (snapshot_copy_out(snapshot, source, snapshot->internal, error) < 0)
		return -1;
	return snapshot->internal ? 0 : cold_check_stopped(snapshot, error);
}

/* Before the guest comes back: QEMU holds the disk then. */
static int delete_internal(struct snapshot *snapshot, GError **error)
{
	g_autofree char *name = g_steal_pointer(&snapshot->internal);
	g_autofree char *source = name ? disk_json_name(snapshot->disk, 0) : NULL;

	if (!name)
		return 0;
	for (int i = 1;; i++) {
		g_autoptr(GError) local = NULL;

		/* Not cancelled with the rest. */
		if (step_begin(snapshot, "delete", NULL, &local) == 0 &&
		    qemu_img_snapshot(source, false, name, NULL, &local) == 0 &&
		    step_end(snapshot, "delete", &local) == 0) {
			step_over(snapshot, "internal");
			return 0;
		}
		if (i == UNDO_TRIES) {
			g_propagate_prefixed_error(error, g_steal_pointer(&local),
						   "the snapshot %s inside the disk %s is left: ",
						   name, disk_top(snapshot->disk)->path);
			return -1;
		}
		g_usleep(G_USEC_PER_SEC);
	}
}

static int undo(struct snapshot *snapshot, GError **error)
{
	g_autoptr(GError) local = NULL;
	int rc = delete_internal(snapshot, &local);

	if (cold_restore(snapshot, rc == 0 ? error : NULL) < 0)
		rc = -1;
	if (local)
		g_propagate_error(error, g_steal_pointer(&local));
	return rc;
}

const struct snapshot_method method_internal = {
	.name = "internal",
	.live = false,
	.prepare = cold_prepare,
	.take = take,
	.undo = undo,
};
