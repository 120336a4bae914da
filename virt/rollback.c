/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking back the steps of a snapshot whose process died. Each looks first at what is there: the
 * process may have died before its step, libvirt may still be at it, and others may have acted
 * since.
 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "virt/internal.h"

#define SAVE_WAIT_S 600
#define JOB_WAIT_S 60
/* Longer than libvirt lets a call wait for the job of another. */
#define TURN_WAIT_S 40
#define LOOK_US (G_USEC_PER_SEC / 5)

/* What a step's undo needs; `domain` is NULL where the guest is gone. */
struct recovery {
	struct virt_host *host;
	virConnectPtr connection;
	virDomainPtr domain;
	const char *uuid;
	const cJSON *what;
};

static const char *text_of(const struct recovery *recovery, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(recovery->what, name));
}

static bool truth_of(const struct recovery *recovery, const char *name)
{
	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(recovery->what, name));
}

static int missing(const char *name, GError **error)
{
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "the journal does not tell its %s", name);
	return -1;
}

/* 1, 0, or -1 with an error. A guest that is gone is not. */
static int is_active(const struct recovery *recovery, GError **error)
{
	int active = recovery->domain ? virDomainIsActive(recovery->domain) : 0;

	if (active < 0)
		virt_set_error(error, "asking whether the guest runs");
	return active;
}

/* Waits behind what libvirt still does to the guest for whoever asked for it and is gone: a
 * question about a disk has its turn after a change of it. -1: it had no turn yet. */
static int wait_turn(const struct recovery *recovery, const char *target, GError **error)
{
	virDomainBlockInfo info;
	GError *local = NULL;

	if (virDomainGetBlockInfo(recovery->domain, target, &info, 0) == 0)
		return 0;
	virt_set_error(&local, "waiting for what libvirt still does to the guest");
	if (g_error_matches(local, VIRT_ERROR, VIRT_ERROR_TIMEOUT) ||
	    g_error_matches(local, VIRT_ERROR, VIRT_ERROR_DISCONNECTED)) {
		g_propagate_error(error, local);
		return -1;
	}
	g_info("guest %s: disk %s: %s", recovery->uuid, target, local->message);
	g_error_free(local);
	return 0;
}

/* Whether libvirt is at something that takes its time, for whomever: 1, 0, or -1 with an error. */
static int has_job(const struct recovery *recovery, GError **error)
{
	virDomainJobInfo job = {0};

	if (virDomainGetJobInfo(recovery->domain, &job) == 0)
		return job.type != VIR_DOMAIN_JOB_NONE;
	if (virGetLastErrorCode() == VIR_ERR_OPERATION_INVALID ||
	    virGetLastErrorCode() == VIR_ERR_NO_SUPPORT)
		return 0;
	virt_set_error(error, "asking for the guest's jobs");
	return -1;
}

/* A backup that is just begun shows as a job before it shows as a backup. 0 once it does, or none
 * is begun. */
static int wait_begun(const struct recovery *recovery, const char *socket, GError **error)
{
	gint64 until = g_get_monotonic_time() + TURN_WAIT_S * G_USEC_PER_SEC;
	int there, job;

	for (;;) {
		job = has_job(recovery, error);
		there = job == 1 ? jobs_is_backup_at(recovery->domain, socket, error) : 0;
		if (job < 0 || there < 0)
			return -1;
		if (job == 0 || there == 1 || g_get_monotonic_time() > until)
			return 0;
		g_usleep(LOOK_US);
	}
}

static int end_backup(const struct recovery *recovery, const char *target, const char *socket,
		      GError **error)
{
	if (wait_turn(recovery, target, error) < 0 || wait_begun(recovery, socket, error) < 0 ||
	    jobs_end_backup(recovery->domain, socket, error) < 0)
		return -1;
	return truth_of(recovery, "running") ? jobs_resume_caught(recovery->domain, error) : 0;
}

static int undo_backup(const struct recovery *recovery, GError **error)
{
	const char *socket = text_of(recovery, "socket");
	const char *scratch = text_of(recovery, "scratch");
	const char *target = text_of(recovery, "target");
	int active;

	if (!socket || !scratch || !target)
		return missing("places", error);
	active = is_active(recovery, error);
	if (active < 0 || (active == 1 && end_backup(recovery, target, socket, error) < 0))
		return -1;
	return jobs_remove_places(socket, scratch, error);
}

/* The program that served there died with who began it. */
static int undo_serve(const struct recovery *recovery, GError **error)
{
	const char *socket = text_of(recovery, "socket");

	return socket ? jobs_remove_places(socket, NULL, error) : missing("socket", error);
}

/* Whether the disk has a block job into that file: 1, 0, or -1 with an error. */
static int is_copied(const struct recovery *recovery, const char *target, const char *delta,
		     GError **error)
{
	char *xml = domain_xml(recovery->domain, error);
	g_autofree char *path = g_strdup_printf(
		"/domain/devices/disk[target/@dev='%s']/mirror/source/@file", target);
	g_autofree char *mirror = xml ? domain_text(xml, path) : NULL;

	if (!xml)
		return -1;
	free(xml);
	return g_strcmp0(mirror, delta) == 0;
}

static int undo_copy(const struct recovery *recovery, GError **error)
{
	const char *target = text_of(recovery, "target");
	const char *delta = text_of(recovery, "delta");
	gint64 until = g_get_monotonic_time() + JOB_WAIT_S * G_USEC_PER_SEC;
	bool told = false;
	int there;

	if (!target || !delta)
		return missing("target", error);
	there = is_active(recovery, error);
	if (there < 1)
		return there;
	if (wait_turn(recovery, target, error) < 0)
		return -1;
	for (;;) {
		there = is_copied(recovery, target, delta, error);
		if (there < 1)
			return there;
		if (!told && virDomainBlockJobAbort(recovery->domain, target, 0) < 0) {
			virt_set_error(error, "ending the block copy that was left running");
			return -1;
		}
		told = true;
		if (g_get_monotonic_time() > until) {
			g_set_error(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT,
				    "the block copy of disk %s did not end in %d s", target,
				    JOB_WAIT_S);
			return -1;
		}
		g_usleep(LOOK_US);
	}
}

static int undo_undefine(const struct recovery *recovery, GError **error)
{
	const char *xml = text_of(recovery, "xml");
	virDomainPtr defined;

	if (!xml)
		return missing("definition", error);
	if (recovery->domain && virDomainIsPersistent(recovery->domain) == 1)
		return 0;
	defined = virDomainDefineXML(recovery->connection, xml);
	if (!defined) {
		virt_set_error(error, "defining the guest again");
		return -1;
	}
	(void)virDomainFree(defined);
	g_message("guest %s: it was left undefined, and is defined again", recovery->uuid);
	return 0;
}

/* libvirt goes on saving when the process that asked is gone. */
static int wait_saved(const struct recovery *recovery, GError **error)
{
	gint64 until = g_get_monotonic_time() + SAVE_WAIT_S * G_USEC_PER_SEC;
	int busy;

	for (;;) {
		busy = is_active(recovery, error);
		if (busy == 1)
			busy = has_job(recovery, error);
		if (busy < 1)
			return busy;
		if (g_get_monotonic_time() > until) {
			g_set_error(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT,
				    "libvirt is still at a job of the guest after %d s",
				    SAVE_WAIT_S);
			return -1;
		}
		g_usleep(LOOK_US);
	}
}

/* libvirtd died while it saved, and let the guest go on: what it had written would be restored at
 * the guest's next start, over a disk that is newer. */
static int remove_saved(const struct recovery *recovery, GError **error)
{
	if (virDomainManagedSaveRemove(recovery->domain, 0) == 0)
		return 0;
	virt_set_error(error, "removing what was saved of a guest that goes on");
	return -1;
}

/* Only where it is saved still: whoever stopped it for good, or started it, had a reason. */
static int undo_save(const struct recovery *recovery, GError **error)
{
	unsigned flags = truth_of(recovery, "paused") ? VIR_DOMAIN_START_PAUSED : 0;
	int active, saved;

	if (!recovery->domain)
		return 0;
	if (wait_saved(recovery, error) < 0)
		return -1;
	active = is_active(recovery, error);
	if (active < 0)
		return -1;
	saved = virDomainHasManagedSaveImage(recovery->domain, 0);
	if (saved < 0)
		virt_set_error(error, "asking whether the guest is saved");
	if (saved < 1)
		return saved;
	if (active == 1)
		return remove_saved(recovery, error);
	if (virDomainCreateWithFlags(recovery->domain, flags) < 0) {
		virt_set_error(error, "restoring the guest, which was left saved");
		return -1;
	}
	g_message("guest %s: it was left saved, and is restored", recovery->uuid);
	return 0;
}

/* Whether the file at the top of a json: name (disk_json_name), or of a plain one, is not there. */
static bool is_disk_gone(const char *disk)
{
	cJSON *node = g_str_has_prefix(disk, "json:") ? cJSON_Parse(disk + strlen("json:")) : NULL;
	const cJSON *file = cJSON_GetObjectItemCaseSensitive(node, "file");
	const char *path =
		node ? cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(file, "filename"))
		     : disk;
	bool gone = path && access(path, F_OK) < 0 && errno == ENOENT;

	cJSON_Delete(node);
	return gone;
}

/* qemu-img may be at it still: the lock of the image says so, and it is tried again. A guest that
 * was deleted or moved has taken its disk with it; where the guest is there, its storage may merely
 * not be mounted yet. */
static int undo_internal(const struct recovery *recovery, GError **error)
{
	const char *disk = text_of(recovery, "disk");
	const char *name = text_of(recovery, "name");
	int there, active;

	if (!disk || !name)
		return missing("name", error);
	if (!recovery->domain && is_disk_gone(disk))
		return 0;
	there = qemu_img_has_snapshot(disk, name, error);
	if (there <= 0)
		return there;
	active = is_active(recovery, error);
	if (active == 1)
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_BUSY,
			    "somebody started the guest: the snapshot %s inside its disk stays "
			    "until it is stopped",
			    name);
	return active == 0 ? qemu_img_snapshot(disk, false, name, NULL, error) : -1;
}

/* Its watchdog, which outlives us, thaws it too: thawing twice is nothing. An agent that does not
 * answer cannot be told, and the watchdog goes on trying. */
static int undo_freeze(const struct recovery *recovery, GError **error)
{
	int state, reason;

	if (!recovery->domain)
		return 0;
	if (virDomainGetState(recovery->domain, &state, &reason, 0) < 0) {
		virt_set_error(error, "asking for the guest's state");
		return -1;
	}
	if (state != VIR_DOMAIN_RUNNING)
		return 0;
	return freeze_take_back(recovery->host, recovery->domain, recovery->uuid, error);
}

/* Known by its name: snapshots_directory may have been another then. */
static int undo_folder(const struct recovery *recovery, GError **error)
{
	const char *folder = text_of(recovery, "folder");
	g_autofree char *name = folder ? g_path_get_basename(folder) : NULL;

	if (!name || !g_path_is_absolute(folder) || !g_str_has_prefix(name, STAGING))
		return missing("folder", error);
	return snapshot_remove_staging(folder, error);
}

static const struct {
	const char *step;
	int (*undo)(const struct recovery *recovery, GError **error);
} undos[] = {
	{"backup", undo_backup},     {"serve", undo_serve},   {"copy", undo_copy},
	{"undefine", undo_undefine}, {"save", undo_save},     {"internal", undo_internal},
	{"freeze", undo_freeze},     {"folder", undo_folder},
};

static int undo_step(struct recovery *recovery, const char *step, GError **error)
{
	for (size_t i = 0; i < G_N_ELEMENTS(undos); i++) {
		if (g_str_equal(undos[i].step, step))
			return undos[i].undo(recovery, error);
	}
	/* Of a newer novasnapd: what it did is there still. */
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
		    "this novasnapd knows no step %s, a newer one does", step);
	return -1;
}

int virt_guest_wait_idle(struct virt_host *host, const char *uuid, GError **error)
{
	struct recovery recovery = {.host = host, .uuid = uuid};
	g_autoptr(GError) local = NULL;
	struct guest guest;
	int rc = guest_open(host, uuid, &guest, &local);

	recovery.domain = guest.domain;
	if (rc == 0)
		rc = wait_saved(&recovery, &local);
	else if (g_error_matches(local, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN))
		rc = 0;
	if (rc < 0)
		g_propagate_error(error, g_steal_pointer(&local));
	guest_close(&guest);
	return rc;
}

int virt_guest_undo(struct virt_host *host, const char *uuid, const char *step, const char *undo,
		    GError **error)
{
	cJSON *what = cJSON_Parse(undo);
	struct recovery recovery = {.host = host, .uuid = uuid, .what = what};
	g_autoptr(GError) local = NULL;
	struct guest guest;
	int rc = guest_open(host, uuid, &guest, &local);

	if (rc < 0 && g_error_matches(local, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN))
		rc = 0;
	recovery.connection = guest.connection;
	recovery.domain = guest.domain;
	if (rc == 0) {
		g_clear_error(&local);
		rc = undo_step(&recovery, step, &local);
	}
	if (rc < 0)
		g_propagate_prefixed_error(error, g_steal_pointer(&local),
					   "taking back %s: ", step);
	guest_close(&guest);
	cJSON_Delete(what);
	return rc;
}
