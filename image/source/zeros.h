/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether a buffer contains only zeros.
 */
#ifndef NOVASNAP_IMAGE_ZEROS_H
#define NOVASNAP_IMAGE_ZEROS_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Returns true for an empty buffer. A buffer is all zeros if its first byte is zero and it equals
 * itself shifted by one byte, which memcmp() checks fast. */
static inline bool image_is_zeros(const void *buffer, size_t length)
{
	const unsigned char *bytes = buffer;

	return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

#endif
