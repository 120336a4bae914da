/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rolling back the steps of a snapshot.
 */
#include "virt/rollback.h"

#include <cjson/cJSON.h>

#include "virt/domain/backup-job.h"
#include "virt/domain/disk-filename.h"
#include "virt/domain/freeze.h"
#include "virt/domain/guest-query.h"
#include "virt/domain/io-error.h"
#include "virt/domain/restore.h"
#include "virt/export-folder.h"
#include "virt/qemu-img.h"
#include "virt/rbd.h"
#include "virt/staging.h"

#define COPY_END_TIMEOUT_S 60
#define COPY_END_POLL_US (G_USEC_PER_SEC / 5)

static const char *get_string(const cJSON *undo, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(undo, name));
}

static bool get_bool(const cJSON *undo, const char *name)
{
	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(undo, name));
}

static int refuse_incomplete(const char *name, GError **error)
{
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "the journal entry has no %s", name);
	return -1;
}

/* "folder" {folder}: the folder of temporary files. [libvirt]snapshots_directory may have had
 * another value when it was created. */
static int rollback_folder(struct guest *guest, const cJSON *undo, GError **error)
{
	const char *folder = get_string(undo, "folder");

	(void)guest;
	if (!folder || !staging_folder_is_ours(folder))
		return refuse_incomplete("folder", error);
	return staging_folder_remove(folder, error);
}

static int end_backup(struct guest *guest, const char *target, const char *socket, GError **error)
{
	if (guest_wait_changes(guest, target, error) < 0 ||
	    backup_job_wait_visible(guest, socket, error) < 0)
		return -1;
	return backup_job_end(guest, socket, error);
}

/* Whether the guest may be resumed: an I/O error had not paused it when the job began. Before,
 * novasnapd noted whether it was running. */
static bool may_resume(const cJSON *undo)
{
	return get_bool(undo, "resume") || get_bool(undo, "running");
}

/* "backup" {target, socket, scratch, resume}: a backup job, its socket and its scratch file. The
 * files are kept as long as the job may use them. The guest is resumed after they are removed,
 * since its own disk may need their room. */
static int rollback_backup(struct guest *guest, const cJSON *undo, GError **error)
{
	const char *socket = get_string(undo, "socket");
	const char *scratch = get_string(undo, "scratch");
	const char *target = get_string(undo, "target");
	enum guest_answer active;
	int rc;

	if (!socket || !scratch || !target)
		return refuse_incomplete("paths", error);
	active = guest_is_active(guest, error);
	if (active == GUEST_UNKNOWN)
		return -1;
	if (active == GUEST_YES && end_backup(guest, target, socket, error) < 0)
		return -1;
	rc = export_folder_remove(socket, scratch, error);
	if (active == GUEST_YES && may_resume(undo) &&
	    io_error_resume(guest, target, rc == 0 ? error : NULL) < 0)
		rc = -1;
	return rc;
}

/* "serve" {socket, [scratch]}: the socket of qemu-nbd, which died with the thread that started it;
 * or the files of a backup job that libvirt has refused. */
static int rollback_serve(struct guest *guest, const cJSON *undo, GError **error)
{
	const char *socket = get_string(undo, "socket");

	(void)guest;
	return socket ? export_folder_remove(socket, get_string(undo, "scratch"), error)
		      : refuse_incomplete("socket", error);
}

/* Ends the block job without a pivot to the copy, and waits until it is gone. */
static int end_copy(struct guest *guest, const char *target, const char *delta, GError **error)
{
	gint64 until = g_get_monotonic_time() + COPY_END_TIMEOUT_S * G_USEC_PER_SEC;
	enum guest_answer copying;
	bool aborted = false;

	while ((copying = guest_has_copy_into(guest, target, delta, error)) == GUEST_YES) {
		if (!aborted && virDomainBlockJobAbort(guest->domain, target, 0) < 0) {
			virt_set_error(error, "ending the block copy");
			return -1;
		}
		aborted = true;
		if (g_get_monotonic_time() > until) {
			g_set_error(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT,
				    "the block copy of disk %s did not end in %d s", target,
				    COPY_END_TIMEOUT_S);
			return -1;
		}
		g_usleep(COPY_END_POLL_US);
	}
	return copying == GUEST_NO ? 0 : -1;
}

/* "copy" {target, delta}: a block job that copies the disk to the delta. */
static int rollback_copy(struct guest *guest, const cJSON *undo, GError **error)
{
	const char *target = get_string(undo, "target");
	const char *delta = get_string(undo, "delta");
	enum guest_answer active;

	if (!target || !delta)
		return refuse_incomplete("target", error);
	active = guest_is_active(guest, error);
	if (active != GUEST_YES)
		return active == GUEST_NO ? 0 : -1;
	if (guest_wait_changes(guest, target, error) < 0)
		return -1;
	return end_copy(guest, target, delta, error);
}

/* "undefine" {xml}: a persistent guest that was made transient. */
static int rollback_undefine(struct guest *guest, const cJSON *undo, GError **error)
{
	const char *xml = get_string(undo, "xml");
	enum guest_answer persistent;
	virDomainPtr defined;

	if (!xml)
		return refuse_incomplete("definition", error);
	persistent = guest_is_persistent(guest, error);
	if (persistent != GUEST_NO)
		return persistent == GUEST_YES ? 0 : -1;
	defined = virDomainDefineXML(guest->connection, xml);
	if (!defined) {
		virt_set_error(error, "defining the guest again");
		return -1;
	}
	(void)virDomainFree(defined);
	g_info("guest %s: defined again", guest->uuid);
	return 0;
}

/* "save" {paused}: a guest that was saved. */
static int rollback_save(struct guest *guest, const cJSON *undo, GError **error)
{
	return guest_restore(guest, get_bool(undo, "paused"), error);
}

/* "internal" {disk, name}: an internal snapshot of a qcow2. If qemu-img is still creating it, the
 * image's lock makes this fail. If the guest was deleted or moved, its disk is gone too; if the
 * guest still exists, a missing disk may be on storage that is not mounted yet. */
static int rollback_internal(struct guest *guest, const cJSON *undo, GError **error)
{
	const char *disk = get_string(undo, "disk");
	const char *name = get_string(undo, "name");
	enum guest_answer known, active;
	int found;

	if (!disk || !name)
		return refuse_incomplete("name", error);
	known = guest_exists(guest, error);
	if (known == GUEST_UNKNOWN)
		return -1;
	if (known == GUEST_NO && disk_json_filename_is_gone(disk))
		return 0;
	found = qemu_img_snapshot_exists(disk, name, error);
	if (found <= 0)
		return found;
	active = guest_is_active(guest, error);
	if (active == GUEST_NO)
		return qemu_img_snapshot_delete(disk, name, error);
	if (active == GUEST_YES)
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_BUSY,
			    "the guest was started: the internal snapshot %s of its disk remains "
			    "until the guest is stopped",
			    name);
	return -1;
}

/* "freeze" {id}: frozen filesystems. Their watchdog, which outlives novasnapd, thaws them, too. */
static int rollback_freeze(struct guest *guest, const cJSON *undo, GError **error)
{
	return guest_thaw(guest, get_string(undo, "id"), error);
}

/* A step of an earlier version does not name the cluster. */
static int check_cluster(const struct image_rbd *rbd, const cJSON *undo, const char *snap,
			 GError **error)
{
	const char *fsid = get_string(undo, "fsid");

	if (!fsid || g_str_equal(fsid, image_rbd_fsid(rbd)))
		return 0;
	g_set_error(
		error, VIRT_ERROR, VIRT_ERROR_CONFIG,
		"the snapshot %s is in the Ceph cluster %s, but [libvirt]images_rbd_ceph_conf is "
		"of the cluster %s",
		snap, fsid, image_rbd_fsid(rbd));
	return -1;
}

/* "rbd-snap" {pool, image, snap, conf, user, fsid}: a snapshot of a disk in Ceph. While a clone of
 * it is not flattened, the cluster may refuse this as busy. The disk may be deleted: its snapshot
 * too. */
static int rollback_rbd_snap(struct guest *guest, const cJSON *undo, GError **error)
{
	const char *pool = get_string(undo, "pool");
	const char *image = get_string(undo, "image");
	const char *snap = get_string(undo, "snap");
	struct image_rbd_cluster cluster = virt_rbd_cluster(
		guest->host->config, get_string(undo, "conf"), get_string(undo, "user"));
	struct image_rbd *rbd;
	int rc = -1;

	if (!pool || !image || !snap || !g_str_has_prefix(snap, IMAGE_RBD_SNAP_PREFIX))
		return refuse_incomplete("snapshot", error);
	rbd = virt_rbd_open(&cluster, NULL, error);
	if (rbd && check_cluster(rbd, undo, snap, error) == 0)
		rc = virt_rbd_snap_remove(rbd, &cluster, pool, image, snap, error);
	image_rbd_close(rbd);
	return rc;
}

/* clang-format off */
static const struct rollback {
	const char *step;
	const char *name;
	bool asks_libvirt;
	int (*run)(struct guest *guest, const cJSON *undo, GError **error);
} rollbacks[] = {
	{"folder", "clean", false, rollback_folder},
	{"backup", "end", true, rollback_backup},
	{"serve", "unserve", false, rollback_serve},
	{"copy", "abort", true, rollback_copy},
	{"undefine", "define", true, rollback_undefine},
	{"save", "restore", true, rollback_save},
	{"internal", "delete", true, rollback_internal},
	{"freeze", "thaw", true, rollback_freeze},
	{"rbd-snap", "rbd-unsnap", false, rollback_rbd_snap},
};
/* clang-format on */

static const struct rollback *find_rollback(const char *step)
{
	for (size_t i = 0; i < G_N_ELEMENTS(rollbacks); i++) {
		if (g_str_equal(rollbacks[i].step, step))
			return &rollbacks[i];
	}
	return NULL;
}

const char *rollback_name(const char *step)
{
	const struct rollback *rollback = find_rollback(step);

	return rollback ? rollback->name : NULL;
}

bool rollback_asks_libvirt(const char *step)
{
	const struct rollback *rollback = find_rollback(step);

	return rollback && rollback->asks_libvirt;
}

int rollback_step(struct guest *guest, const char *step, const char *undo, GError **error)
{
	const struct rollback *rollback = find_rollback(step);
	cJSON *parsed = cJSON_Parse(undo);
	g_autoptr(GError) local = NULL;
	int rc = -1;

	if (rollback)
		rc = rollback->run(guest, parsed, &local);
	else
		g_set_error(&local, VIRT_ERROR, VIRT_ERROR_FAILED,
			    "this novasnapd does not know the step; a newer version created it, "
			    "and can roll it back");
	if (rc < 0)
		g_propagate_prefixed_error(error, g_steal_pointer(&local),
					   "rolling back %s: ", step);
	cJSON_Delete(parsed);
	return rc;
}

int virt_guest_rollback_step(struct virt_host *host, const char *uuid, const char *step,
			     const char *undo, GError **error)
{
	struct guest guest;
	int rc;

	guest_init(&guest, host, uuid);
	rc = rollback_step(&guest, step, undo, error);
	guest_close(&guest);
	return rc;
}

bool virt_step_waits_for(const char *step, const char *failed, bool last_attempt)
{
	/* A copy job that may still be running writes to its folder. */
	if (g_str_equal(failed, "copy"))
		return g_str_equal(step, "folder");
	/* An internal snapshot can be deleted only while the guest is off; but the guest must not
	 * stay off for that. */
	return !last_attempt && g_str_equal(failed, "internal") && g_str_equal(step, "save");
}
