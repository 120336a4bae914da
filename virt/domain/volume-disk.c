/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disk of a guest whose volume Cinder stores in a file.
 */
#include "virt/domain/volume-disk.h"

#include <stdlib.h>

#include "virt/domain/guest-query.h"

#define BLOCK_JOB_POLL_US (G_USEC_PER_SEC / 5)

static int read_disks(struct volume_disk *disk, const struct virt_volume *volume, GError **error)
{
	disk->xml = guest_xml(&disk->guest, 0, error);
	if (!disk->xml)
		return -1;
	disk->disks = domain_disks(disk->xml);
	for (guint i = 0; i < disk->disks->len && !disk->disk; i++) {
		const struct domain_disk *found = disk->disks->pdata[i];

		if (g_strcmp0(found->serial, volume->volume_id) == 0)
			disk->disk = found;
	}
	if (disk->disk && disk->disk->file)
		return 0;
	if (disk->disk)
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
			    "volume %s is not a disk in a file: its type is %s", volume->volume_id,
			    disk->disk->type ? disk->disk->type : "unknown");
	else
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
			    "no disk of the guest has the serial %s of the volume",
			    volume->volume_id);
	return -1;
}

static void free_disks(struct volume_disk *disk)
{
	g_clear_pointer(&disk->disks, g_ptr_array_unref);
	g_clear_pointer(&disk->xml, free);
	disk->disk = NULL;
}

static int refuse_busy(const struct virt_volume *volume, bool cancelled, GError **error)
{
	g_set_error(error, VIRT_ERROR, cancelled ? VIRT_ERROR_CANCELLED : VIRT_ERROR_BUSY,
		    "the disk of volume %s has another block job, which %s", volume->volume_id,
		    cancelled ? "was cancelled" : "must end first");
	return -1;
}

/* Waits until the volume's disk has no block job, as long as that job makes progress. */
static int wait_block_job(struct volume_disk *disk, const struct virt_volume *volume,
			  GError **error)
{
	gint64 limit_us = (gint64)disk->guest.host->config->job_timeout_s * G_USEC_PER_SEC;
	gint64 moved_at = g_get_monotonic_time();
	unsigned long long last = 0;

	for (;;) {
		bool cancelled = volume->cancel && atomic_load(volume->cancel) != 0;
		virDomainBlockJobInfo info;
		enum guest_answer busy =
			guest_has_block_job(&disk->guest, disk->disk->target, &info, error);

		if (busy != GUEST_YES)
			return busy == GUEST_NO ? 0 : -1;
		if (cancelled)
			(void)virDomainBlockJobAbort(disk->guest.domain, disk->disk->target, 0);
		if (info.cur != last)
			moved_at = g_get_monotonic_time();
		last = info.cur;
		if (cancelled || g_get_monotonic_time() - moved_at > limit_us)
			return refuse_busy(volume, cancelled, error);
		g_usleep(BLOCK_JOB_POLL_US);
	}
}

int volume_disk_read_again(struct volume_disk *disk, const struct virt_volume *volume,
			   GError **error)
{
	free_disks(disk);
	return read_disks(disk, volume, error);
}

int volume_disk_settle(struct volume_disk *disk, const struct virt_volume *volume, GError **error)
{
	if (guest_wait_idle(&disk->guest, error) < 0 ||
	    volume_disk_read_again(disk, volume, error) < 0 ||
	    wait_block_job(disk, volume, error) < 0)
		return -1;
	/* The job may have changed the chain. */
	return volume_disk_read_again(disk, volume, error);
}

int volume_disk_open(struct volume_disk *disk, struct virt_host *host,
		     const struct virt_volume *volume, GError **error)
{
	*disk = (struct volume_disk){0};
	guest_init(&disk->guest, host, volume->uuid);
	return volume->resuming ? volume_disk_settle(disk, volume, error)
				: read_disks(disk, volume, error);
}

void volume_disk_close(struct volume_disk *disk)
{
	free_disks(disk);
	guest_close(&disk->guest);
}

char *volume_disk_path(const struct volume_disk *disk, const char *name)
{
	g_autofree char *folder = g_path_get_dirname(disk->disk->file);

	return g_path_is_absolute(name) ? g_strdup(name) : g_build_filename(folder, name, NULL);
}
