/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of uploads share.
 */
#ifndef NOVASNAP_TESTS_UPLOAD_H
#define NOVASNAP_TESTS_UPLOAD_H

#include <string.h>

#include "image/openstack/http.h"

static inline int zero_source_read(struct image_source *source, uint64_t offset, void *buf,
				   size_t len, GError **error)
{
	(void)source;
	(void)offset;
	(void)error;
	memset(buf, 0, len);
	return 0;
}

/* For a source of any size whose bytes are zeros. It needs no free. */
static const struct image_source_ops zero_source_ops = {.read = zero_source_read};

/* A source with data in the first 4096 of each 1000003 bytes, which starts anywhere in a cluster,
 * and zeros in between. */
struct pattern_source {
	struct image_source head;
	uint64_t fails_at; /* reading this byte fails; 0: none fails */
};

static inline int pattern_source_read(struct image_source *source, uint64_t offset, void *buf,
				      size_t len, GError **error)
{
	struct pattern_source *pattern = (struct pattern_source *)source;
	unsigned char *bytes = buf;

	if (pattern->fails_at > 0 && offset + len > pattern->fails_at) {
		g_set_error_literal(error, G_FILE_ERROR, G_FILE_ERROR_IO, "the disk is broken");
		return -1;
	}
	for (size_t i = 0; i < len; i++)
		bytes[i] = (unsigned char)((offset + i) % 1000003 < 4096 ? (offset + i) % 251 : 0);
	return 0;
}

static const struct image_source_ops pattern_source_ops = {.read = pattern_source_read};

/* Reads all of a request body, as http_request_send() does. Returns 0, or -1 with its error. */
static inline int http_upload_drain(const struct http_upload *upload, GError **error)
{
	char buffer[65536];
	ssize_t got;

	do {
		got = upload->read(upload->opaque, buffer, sizeof(buffer), error);
	} while (got > 0);
	return got < 0 ? -1 : 0;
}

#endif
