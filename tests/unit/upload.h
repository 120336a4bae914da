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
