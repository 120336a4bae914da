/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See disk-stamp.h.
 */
#include "virt/domain/disk-stamp.h"

#include <stdint.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* Of /sys/dev/block/M:N/stat (Documentation/block/stat.rst in Linux). */
#define FIELD_WRITES 4
#define FIELD_SECTORS_WRITTEN 6

static char *file_stamp(const struct stat *status)
{
	return g_strdup_printf("file %ju %ju %jd %jd.%ld %jd.%ld", (uintmax_t)status->st_dev,
			       (uintmax_t)status->st_ino, (intmax_t)status->st_size,
			       (intmax_t)status->st_mtim.tv_sec, status->st_mtim.tv_nsec,
			       (intmax_t)status->st_ctim.tv_sec, status->st_ctim.tv_nsec);
}

static char *read_device_file(dev_t device, const char *name)
{
	g_autofree char *path =
		g_strdup_printf("/sys/dev/block/%u:%u/%s", major(device), minor(device), name);
	char *text = NULL;

	(void)g_file_get_contents(path, &text, NULL, NULL);
	return text ? g_strstrip(text) : NULL;
}

/* The kernel counts only if the device's iostats are on. */
static char *device_stamp(dev_t device)
{
	g_autofree char *counts = read_device_file(device, "queue/iostats");
	g_autofree char *text = read_device_file(device, "stat");
	g_autoptr(GRegex) blanks = g_regex_new("\\s+", 0, 0, NULL);
	g_auto(GStrv) fields = text ? g_regex_split(blanks, text, 0) : NULL;

	if (g_strcmp0(counts, "1") != 0 || !fields ||
	    g_strv_length(fields) <= FIELD_SECTORS_WRITTEN)
		return NULL;
	return g_strdup_printf("device %u:%u %s %s", major(device), minor(device),
			       fields[FIELD_WRITES], fields[FIELD_SECTORS_WRITTEN]);
}

char *disk_stamp_read(const struct disk *disk)
{
	struct stat status;

	if (stat(disk_top(disk)->path, &status) < 0)
		return NULL;
	if (S_ISREG(status.st_mode))
		return file_stamp(&status);
	return S_ISBLK(status.st_mode) ? device_stamp(status.st_rdev) : NULL;
}
