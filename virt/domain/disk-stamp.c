/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See disk-stamp.h.
 */
#include "virt/domain/disk-stamp.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "virt/virt.h"

/* Of /sys/dev/block/M:N/stat (Documentation/block/stat.rst in Linux). A flush counts as a write of
 * no sectors, so the number of writes says nothing. */
#define FIELD_SECTORS_WRITTEN 6
#define FIELD_SECTORS_DISCARDED 13

#define FILE_PREFIX "file "

/* An NFS client answers from its cache for up to a minute, unless it is told to ask the server. The
 * time of the last change of status is left out: it also changes when libvirt or a backup program
 * sets the file's owner or attributes. NULL: none. */
static char *file_stamp(const char *path)
{
	struct statx status;

	if (statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &status) < 0)
		return NULL;
	return g_strdup_printf(FILE_PREFIX "%u:%u %" PRIu64 " %" PRIu64 " %" PRId64 ".%" PRIu32,
			       status.stx_dev_major, status.stx_dev_minor, (uint64_t)status.stx_ino,
			       (uint64_t)status.stx_size, (int64_t)status.stx_mtime.tv_sec,
			       (uint32_t)status.stx_mtime.tv_nsec);
}

/* An attribute of the device; a partition has some only in its disk's folder. NULL: none. */
static char *read_attribute(dev_t device, const char *name)
{
	static const char *const folders[] = {"", "../"};
	char *text = NULL;

	for (size_t i = 0; !text && i < G_N_ELEMENTS(folders); i++) {
		g_autofree char *path = g_strdup_printf("/sys/dev/block/%u:%u/%s%s", major(device),
							minor(device), folders[i], name);

		(void)g_file_get_contents(path, &text, NULL, NULL);
	}
	return text ? g_strstrip(text) : NULL;
}

/* The counts of a loop device go on when another file is attached, those of a logical volume begin
 * at 0 when it is activated again: diskseq tells the uses apart. A write is counted when it is
 * done: those in flight are part of the stamp. */
static char *device_stamp(dev_t device)
{
	g_autofree char *counts = read_attribute(device, "queue/iostats");
	g_autofree char *sequence = read_attribute(device, "diskseq");
	g_autofree char *in_flight = read_attribute(device, "inflight");
	g_autofree char *text = read_attribute(device, "stat");
	g_autoptr(GRegex) blanks = g_regex_new("\\s+", 0, 0, NULL);
	g_auto(GStrv) fields = text ? g_regex_split(blanks, text, 0) : NULL;
	g_auto(GStrv) now = in_flight ? g_regex_split(blanks, in_flight, 0) : NULL;

	/* The kernel counts only if iostats are on. */
	if (g_strcmp0(counts, "1") != 0 || !sequence || !fields || !now ||
	    g_strv_length(fields) <= FIELD_SECTORS_DISCARDED || g_strv_length(now) != 2)
		return NULL;
	return g_strdup_printf("device %u:%u %s %s %s %s", major(device), minor(device), sequence,
			       fields[FIELD_SECTORS_WRITTEN], fields[FIELD_SECTORS_DISCARDED],
			       now[1]);
}

char *disk_stamp_read(const struct disk *disk)
{
	struct stat status;

	if (stat(disk_top(disk)->path, &status) < 0)
		return NULL;
	if (S_ISREG(status.st_mode))
		return file_stamp(disk_top(disk)->path);
	return S_ISBLK(status.st_mode) ? device_stamp(status.st_rdev) : NULL;
}

bool disk_is_device(const struct disk *disk)
{
	struct stat status;

	return stat(disk_top(disk)->path, &status) == 0 && S_ISBLK(status.st_mode);
}

int disk_stamp_check(const struct disk *disk, const char *stamp, GError **error)
{
	g_autofree char *now = disk_stamp_read(disk);

	if (now && g_strcmp0(now, stamp) == 0)
		return 0;
	if (stamp && g_str_has_prefix(stamp, FILE_PREFIX))
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_INSTANT_LOST,
			    "another program wrote to %s while it was read, although the guest is "
			    "shut off on this host; on shared storage it may be running on another",
			    disk_top(disk)->path);
	else
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_BUSY,
			    "another program wrote to %s while it was read, although the guest is "
			    "shut off; nova does so when it deletes the instance",
			    disk_top(disk)->path);
	return -1;
}
