/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Decompresses message bodies, by the compression methods that kombu registers (kombu.compression).
 * A sender compresses with [oslo_messaging_rabbit]kombu_compression.
 */
#ifndef NOVASNAP_RPC_DECOMPRESS_H
#define NOVASNAP_RPC_DECOMPRESS_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

/* Whether the method is supported. `method` is a content type or one of kombu's aliases:
 * "application/x-gzip", "gzip", "bzip2"... */
bool decompress_is_supported(const char *method);

/* Decompresses `length` bytes, and appends the result to `output`. As in kombu, bytes after the end
 * of the compressed data are ignored. Returns -1 with RPC_ERROR_DECODE if the data is malformed or
 * truncated, or if the result has more than `limit` bytes; `output` then has the bytes before the
 * error, at most `limit`. Fails with RPC_ERROR_ENCODING if the method is not supported. */
int decompress_body(const char *method, const void *data, size_t length, size_t limit,
		    GByteArray *output, GError **error);

#endif
