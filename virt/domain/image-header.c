/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether the header of a disk's file would lead QEMU to yet other files, which no chain names: the
 * external data file of a qcow2, the extents of a VMDK that is merely a description. Looked at here
 * before any program of QEMU opens the file, for that one would open those too.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "virt/internal.h"

#define HEADER 80
#define QCOW2_VERSION 4
#define QCOW2_INCOMPATIBLE 72
#define QCOW2_DATA_FILE ((uint64_t)1 << 2)
#define VMDK_CAPACITY 12

static uint64_t big_endian(const unsigned char *at, size_t bytes)
{
	uint64_t value = 0;

	for (size_t i = 0; i < bytes; i++)
		value = value << 8 | at[i];
	return value;
}

static bool is_all_zero(const unsigned char *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		if (at[i] != 0)
			return false;
	}
	return true;
}

static const char *judge_qcow2(const unsigned char *header)
{
	if (memcmp(header, "QFI\xfb", 4) == 0 && big_endian(header + QCOW2_VERSION, 4) >= 3 &&
	    (big_endian(header + QCOW2_INCOMPATIBLE, 8) & QCOW2_DATA_FILE))
		return "has an external data file in its chain: it is not followed";
	return NULL;
}

/* Those that hold their data themselves: COWD, and KDMV but for one without a capacity, which QEMU
 * takes for a description. */
static const char *judge_vmdk(const unsigned char *header)
{
	if (memcmp(header, "COWD", 4) == 0 ||
	    (memcmp(header, "KDMV", 4) == 0 && !is_all_zero(header + VMDK_CAPACITY, 8)))
		return NULL;
	return "has a VMDK in its chain that names other files: they are not followed";
}

static int refuse_to_read(const struct disk_layer *layer, GError **error)
{
	int saved = errno;

	g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED, "reading the disk's file %s: %s%s",
		    layer->path, g_strerror(saved),
		    saved == EACCES && geteuid() != 0
			    ? "; novasnapd does not run as root: its user needs to read the "
			      "guests' disks, by a group or an ACL"
			    : "");
	return -1;
}

int header_check(const struct disk_layer *layer, const char **ret_why, GError **error)
{
	unsigned char header[HEADER] = {0};
	/* Of what is no file nobody waits for a writer. */
	int fd = open(layer->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t got = fd < 0 ? -1 : pread(fd, header, sizeof(header), 0);

	*ret_why = NULL;
	if (got < 0)
		(void)refuse_to_read(layer, error);
	if (fd >= 0)
		(void)close(fd);
	if (got < 0)
		return -1;
	if (g_str_equal(layer->format, "qcow2"))
		*ret_why = judge_qcow2(header);
	else if (g_str_equal(layer->format, "vmdk"))
		*ret_why = judge_vmdk(header);
	return 0;
}
