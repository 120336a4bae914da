/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is read from the header of a disk's file itself, before a QEMU program opens the file: that
 * program would open the files that the header names, too.
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

static int set_read_error(const char *path, GError **error)
{
	int saved = errno;

	g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED, "reading the disk's file %s: %s%s",
		    path, g_strerror(saved),
		    saved == EACCES && geteuid() != 0
			    ? "; novasnapd does not run as root: give its user read access to the "
			      "guests' disks by a group or an ACL, to logical volumes by a udev "
			      "rule"
			    : "");
	return -1;
}

/* Reads the first bytes of a file. The rest of `buf` is unchanged. */
static int read_start(const char *path, unsigned char *buf, size_t size, GError **error)
{
	/* Non-blocking, since the path may be a FIFO. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t got = fd < 0 ? -1 : pread(fd, buf, size, 0);
	int rc = got < 0 ? set_read_error(path, error) : 0;

	if (fd >= 0)
		(void)close(fd);
	return rc;
}

int image_header_check(const struct disk_layer *layer, const char **ret_why, GError **error)
{
	unsigned char header[HEADER_BYTES] = {0};

	*ret_why = NULL;
	if (read_start(layer->path, header, sizeof(header), error) < 0)
		return -1;
	if (g_str_equal(layer->format, "qcow2"))
		*ret_why = check_qcow2(header);
	else if (g_str_equal(layer->format, "vmdk"))
		*ret_why = check_vmdk(header);
	return 0;
}

/* A format's signature, and the version that must follow it (libvirt's fileTypeInfo). libvirt takes
 * an ISO image for raw, and does not start a guest whose backing file has a LUKS header. */
struct signature {
	const char *format;
	size_t offset;
	const char *bytes;
	size_t version_offset; /* of a 32-bit number; 0: any version */
	bool big_endian;
	uint32_t version_min, version_max;
};

static const struct signature signatures[] = {
	{"luks", 0, "LUKS\xba\xbe", 0, false, 0, 0},
	{"vpc", 0, "conectix", 12, true, 0x10000, 0x10000},
	{"vdi", 64, "\x7f\x10\xda\xbe", 68, false, 0x10001, 0x10001},
	{"ploop", 0, "WithouFreSpacExt", 0, false, 0, 0},
	{"cow", 0, "OOOM", 4, true, 2, 2},
	{"qcow", 0, "QFI", 4, true, 1, 1},
	{"qcow2", 0, "QFI", 4, true, 2, 3},
	{"qed", 0, "QED", 0, false, 0, 0},
	{"vmdk", 0, "KDMV", 4, false, 1, 3},
};

static bool has_signature(const unsigned char *start, const struct signature *signature)
{
	const unsigned char *at = start + signature->version_offset;
	uint32_t version;

	if (memcmp(start + signature->offset, signature->bytes, strlen(signature->bytes)) != 0)
		return false;
	if (signature->version_offset == 0)
		return true;
	version = signature->big_endian ? (uint32_t)read_big_endian(at, 4)
					: (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 |
						  (uint32_t)at[1] << 8 | at[0];
	return version >= signature->version_min && version <= signature->version_max;
}

const char *image_header_detect(const char *path, GError **error)
{
	unsigned char start[HEADER_BYTES] = {0};

	if (read_start(path, start, sizeof(start), error) < 0)
		return NULL;
	for (size_t i = 0; i < G_N_ELEMENTS(signatures); i++) {
		if (has_signature(start, &signatures[i]))
			return signatures[i].format;
	}
	return "raw";
}
