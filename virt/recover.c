/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking back the steps of a snapshot whose process died. Each looks first at what is there: the
 * process may have died before its step, libvirt may still be at it, and others may have acted
 * since.
 */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "virt/internal.h"

#define SAVE_WAIT_S 600
#define JOB_WAIT_S 60
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

/* Waits behind what libvirt still does to the guest for the process that died: a question about a
 * disk has its turn after a change of it. */
static void wait_turn(const struct recovery *recovery, const char *target)
{
	virDomainBlockInfo info;

	if (virDomainGetBlockInfo(recovery->domain, target, &info, 0) < 0)
		g_info("guest %s: asking for its disk %s: %s", recovery->uuid, target,
		       virGetLastErrorMessage());
}

static int undo_backup(const struct recovery *recovery, GError **error)
{
	const char *socket = text_of(recovery, "socket");
	const char *scratch = text_of(recovery, "scratch");
	const char *target = text_of(recovery, "target");

	if (!socket || !scratch || !target)
		return missing("places", error);
	if (recovery->domain && virDomainIsActive(recovery->domain) == 1) {
		wait_turn(recovery, target);
		if (jobs_end_backup(recovery->domain, socket, error) < 0)
			return -1;
		if (truth_of(recovery, "running") &&
		    jobs_resume_caught(recovery->domain, error) < 0)
			return -1;
	}
	return jobs_remove_places(socket, scratch, error);
}

/* The target of the disk's block job; NULL: there is none. */
static char *mirror_of(const struct recovery *recovery, const char *target)
{
	char *xml = virDomainGetXMLDesc(recovery->domain, 0);
	g_autofree char *path = g_strdup_printf(
		"/domain/devices/disk[target/@dev='%s']/mirror/source/@file", target);
	char *mirror = xml ? domain_text(xml, path) : NULL;

	free(xml);
	return mirror;
}

static int undo_copy(const struct recovery *recovery, GError **error)
{
	const char *target = text_of(recovery, "target");
	const char *delta = text_of(recovery, "delta");
	gint64 until = g_get_monotonic_time() + JOB_WAIT_S * G_USEC_PER_SEC;
	bool told = false;

	if (!target || !delta)
		return missing("target", error);
	if (!recovery->domain || virDomainIsActive(recovery->domain) != 1)
		return 0;
	wait_turn(recovery, target);
	for (;;) {
		g_autofree char *mirror = mirror_of(recovery, target);

		if (g_strcmp0(mirror, delta) != 0)
			return 0;
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
	virDomainJobInfo job;

	for (;;) {
		memset(&job, 0, sizeof(job));
		if (virDomainIsActive(recovery->domain) != 1 ||
		    virDomainGetJobInfo(recovery->domain, &job) < 0 ||
		    job.type == VIR_DOMAIN_JOB_NONE)
			return 0;
		if (g_get_monotonic_time() > until) {
			g_set_error(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT,
				    "libvirt is still at a job of the guest after %d s",
				    SAVE_WAIT_S);
			return -1;
		}
		g_usleep(LOOK_US);
	}
}

/* Only where it is saved still: whoever stopped it for good, or started it, had a reason. */
static int undo_save(const struct recovery *recovery, GError **error)
{
	unsigned flags = truth_of(recovery, "paused") ? VIR_DOMAIN_START_PAUSED : 0;

	if (!recovery->domain)
		return 0;
	if (wait_saved(recovery, error) < 0)
		return -1;
	if (virDomainIsActive(recovery->domain) == 1 ||
	    virDomainHasManagedSaveImage(recovery->domain, 0) != 1)
		return 0;
	if (virDomainCreateWithFlags(recovery->domain, flags) < 0) {
		virt_set_error(error, "restoring the guest, which was left saved");
		return -1;
	}
	g_message("guest %s: it was left saved, and is restored", recovery->uuid);
	return 0;
}

/* qemu-img may be at it still: the lock of the image says so, and it is tried again. */
static int undo_internal(const struct recovery *recovery, GError **error)
{
	const char *disk = text_of(recovery, "disk");
	const char *name = text_of(recovery, "name");
	int there;

	if (!disk || !name)
		return missing("name", error);
	there = qemu_img_has_snapshot(disk, name, error);
	return there <= 0 ? there : qemu_img_snapshot(disk, false, name, NULL, error);
}

/* Its watchdog, which outlives us, thaws it too: thawing twice is nothing. An agent that does not
 * answer cannot be told, and the watchdog goes on trying. */
static int undo_freeze(const struct recovery *recovery, GError **error)
{
	int state, reason;

	if (!recovery->domain || virDomainGetState(recovery->domain, &state, &reason, 0) < 0 ||
	    state != VIR_DOMAIN_RUNNING)
		return 0;
	return virt_guest_thaw(recovery->host, recovery->uuid, error);
}

static int undo_folder(const struct recovery *recovery, GError **error)
{
	const char *folder = text_of(recovery, "folder");
	g_autofree char *ours =
		g_build_filename(host_config(recovery->host)->snapshots_directory, STAGING, NULL);

	if (!folder || !g_str_has_prefix(folder, ours))
		return missing("folder", error);
	return snapshot_remove_staging(folder, error);
}

static const struct {
	const char *step;
	int (*undo)(const struct recovery *recovery, GError **error);
} undos[] = {
	{"backup", undo_backup}, {"copy", undo_copy},	      {"undefine", undo_undefine},
	{"save", undo_save},	 {"internal", undo_internal}, {"freeze", undo_freeze},
	{"folder", undo_folder},
};

static int undo_step(struct recovery *recovery, const char *step, GError **error)
{
	for (size_t i = 0; i < G_N_ELEMENTS(undos); i++) {
		if (g_str_equal(undos[i].step, step))
			return undos[i].undo(recovery, error);
	}
	return 0;
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
