/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Complete reads and writes of files.
 */
#include "image/file-io.h"

#include <errno.h>
#include <unistd.h>

ssize_t image_file_read(int fd, void *buffer, size_t length, uint64_t offset)
{
	size_t done = 0;

	while (done < length) {
		ssize_t n = pread(fd, (char *)buffer + done, length - done, (off_t)(offset + done));

		if (n == 0)
			break;
		if (n > 0)
			done += (size_t)n;
		else if (errno != EINTR)
			return -1;
	}
	return (ssize_t)done;
}

int image_file_write(int fd, const void *data, size_t length, uint64_t offset)
{
	size_t done = 0;

	while (done < length) {
		ssize_t n = pwrite(fd, (const char *)data + done, length - done,
				   (off_t)(offset + done));

		if (n > 0) {
			done += (size_t)n;
		} else if (n == 0) {
			errno = EIO;
			return -1;
		} else if (errno != EINTR) {
			return -1;
		}
	}
	return 0;
}
