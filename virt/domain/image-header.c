/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether the header of a disk's file would make QEMU open files outside the backing chain. Checked
 * before a QEMU program opens the file, since that program would open those files too.
 */
#include "virt/domain/image-header.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "virt/virt.h"

#define HEADER_BYTES 80
/* Field offsets in bytes. */
#define QCOW2_VERSION 4
#define QCOW2_INCOMPATIBLE 72
#define QCOW2_DATA_FILE ((uint64_t)1 << 2)
#define VMDK_CAPACITY 12 /* an offset, too */

static uint64_t read_big_endian(const unsigned char *at, size_t bytes)
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

static const char *check_qcow2(const unsigned char *header)
{
	if (memcmp(header, "QFI\xfb", 4) == 0 && read_big_endian(header + QCOW2_VERSION, 4) >= 3 &&
	    (read_big_endian(header + QCOW2_INCOMPATIBLE, 8) & QCOW2_DATA_FILE))
		return "has an external data file in its chain: it is not opened";
	return NULL;
}

/* A VMDK that contains its own data starts with COWD, or with KDMV and a capacity. QEMU treats KDMV
 * without a capacity as a description. */
static const char *check_vmdk(const unsigned char *header)
{
	if (memcmp(header, "COWD", 4) == 0 ||
	    (memcmp(header, "KDMV", 4) == 0 && !is_all_zero(header + VMDK_CAPACITY, 8)))
		return NULL;
	return "has a VMDK in its chain that names other files: they are not opened";
}

static int set_read_error(const struct disk_layer *layer, GError **error)
{
	int saved = errno;

	g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED, "reading the disk's file %s: %s%s",
		    layer->path, g_strerror(saved),
		    saved == EACCES && geteuid() != 0
			    ? "; novasnapd does not run as root: give its user read access to the "
			      "guests' disks by a group or an ACL"
			    : "");
	return -1;
}

int image_header_check(const struct disk_layer *layer, const char **ret_why, GError **error)
{
	unsigned char header[HEADER_BYTES] = {0};
	/* Non-blocking, since the path may be a FIFO. */
	int fd = open(layer->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t got = fd < 0 ? -1 : pread(fd, header, sizeof(header), 0);

	*ret_why = NULL;
	if (got < 0)
		(void)set_read_error(layer, error);
	if (fd >= 0)
		(void)close(fd);
	if (got < 0)
		return -1;
	if (g_str_equal(layer->format, "qcow2"))
		*ret_why = check_qcow2(header);
	else if (g_str_equal(layer->format, "vmdk"))
		*ret_why = check_vmdk(header);
	return 0;
}
