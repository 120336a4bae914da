/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest that an I/O error has paused.
 */
#include "virt/domain/io-error.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "virt/domain/domain-xml.h"

#define ERRORS_MAX 256
/* More than QEMU needs for one write of the guest. */
#define WRITE_BYTES ((uint64_t)1024 * 1024)
#define STAT_BLOCK_BYTES 512

enum guest_answer io_error_has_paused(struct guest *guest, GError **error)
{
	int reason;
	int state = guest_state(guest, &reason, error);

	if (state < 0)
		return GUEST_UNKNOWN;
	return state == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_IOERROR ? GUEST_YES
										 : GUEST_NO;
}

/* The targets of the disks for which libvirt reports an error; the caller unrefs it. Empty if
 * libvirt reports none, or its driver cannot. NULL with an error if it did not answer. */
static GPtrArray *find_failed_disks(const struct guest *guest, GError **error)
{
	g_autofree virDomainDiskError *errors = g_new0(virDomainDiskError, ERRORS_MAX);
	int count = virDomainGetDiskErrors(guest->domain, errors, ERRORS_MAX, 0);
	GPtrArray *targets;

	if (count < 0 && virGetLastErrorCode() != VIR_ERR_NO_SUPPORT) {
		virt_set_error(error, "asking which disks have an I/O error");
		return NULL;
	}
	targets = g_ptr_array_new_with_free_func(g_free);
	for (int i = 0; i < count; i++) {
		g_ptr_array_add(targets, g_strdup(errors[i].disk));
		free(errors[i].disk);
	}
	return targets;
}

static bool has_target(GPtrArray *targets, const char *target)
{
	return g_ptr_array_find_with_equal_func(targets, target, g_str_equal, NULL);
}

/* Whether the error is one of this disk, as far as libvirt says. */
static bool is_at(GPtrArray *failed, const char *target)
{
	return failed->len == 0 || has_target(failed, target);
}

enum guest_answer io_error_has_paused_at(struct guest *guest, const char *target, GError **error)
{
	enum guest_answer paused = io_error_has_paused(guest, error);

	if (paused == GUEST_YES) {
		g_autoptr(GPtrArray) failed = find_failed_disks(guest, error);

		if (!failed)
			return GUEST_UNKNOWN;
		paused = is_at(failed, target) ? GUEST_YES : GUEST_NO;
	}
	return paused;
}

/* Whether a write may fail because the file of the disk cannot grow. A raw file that is allocated
 * need not grow. What cannot be read is taken for a file with room: then the guest is resumed, and
 * QEMU pauses it again. */
static bool has_no_room(const struct domain_disk *disk)
{
	struct statvfs fs;
	struct stat st;

	if (!disk->file || stat(disk->file, &st) < 0 || !S_ISREG(st.st_mode) ||
	    statvfs(disk->file, &fs) < 0)
		return false;
	if (g_strcmp0(disk->format, "raw") == 0 &&
	    (uint64_t)st.st_blocks * STAT_BLOCK_BYTES >= (uint64_t)st.st_size)
		return false;
	return (uint64_t)fs.f_bavail * fs.f_frsize < WRITE_BYTES;
}

/* The first of the disks that have failed, or else the disk `target`, whose own file has no room;
 * the caller frees it. NULL: none. */
static char *find_full_disk(struct guest *guest, GPtrArray *failed, const char *target)
{
	char *xml = guest_xml(guest, 0, NULL);
	g_autoptr(GPtrArray) disks = domain_disks(xml ? xml : "");
	char *full = NULL;

	for (guint i = 0; !full && i < disks->len; i++) {
		const struct domain_disk *disk = disks->pdata[i];
		bool failed_itself = failed->len > 0 ? has_target(failed, disk->target)
						     : g_str_equal(disk->target, target);

		if (failed_itself && has_no_room(disk))
			full = g_strdup(disk->target);
	}
	free(xml);
	return full;
}

int io_error_resume(struct guest *guest, const char *target, GError **error)
{
	enum guest_answer paused = io_error_has_paused(guest, error);
	g_autoptr(GPtrArray) failed = NULL;
	g_autofree char *full = NULL;

	if (paused != GUEST_YES || atomic_load(&guest->io_error_resumed))
		return paused == GUEST_UNKNOWN ? -1 : 0;
	failed = find_failed_disks(guest, error);
	if (!failed)
		return -1;
	full = find_full_disk(guest, failed, target);
	if (full || !is_at(failed, target)) {
		g_warning("guest %s: it stays paused by an I/O error, because disk %s %s",
			  guest->uuid, full ? full : (const char *)failed->pdata[0],
			  full ? "itself has no room" : "has the error");
		return 0;
	}
	if (virDomainResume(guest->domain) < 0) {
		virt_set_error(error, "resuming the guest, which was paused by an I/O error");
		return -1;
	}
	atomic_store(&guest->io_error_resumed, true);
	g_message("guest %s: resumed: an I/O error had paused it while its disk was exported",
		  guest->uuid);
	return 0;
}
