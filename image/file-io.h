/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads and writes files completely: continues after partial transfers and interrupted calls.
 */
#ifndef NOVASNAP_IMAGE_FILE_IO_H
#define NOVASNAP_IMAGE_FILE_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Reads `length` bytes at byte `offset`. Returns the number of bytes read, which is less than
 * `length` only if the file ends, or -1 with errno.
 */
ssize_t image_file_read(int fd, void *buffer, size_t length, uint64_t offset);

/* Writes `length` bytes at byte `offset`. Returns 0, or -1 with errno. */
int image_file_write(int fd, const void *data, size_t length, uint64_t offset);

#endif
