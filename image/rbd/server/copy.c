/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See copy.h.
 */
#include "image/rbd/server/copy.h"

#include <errno.h>
#include <string.h>

#include "image/rbd/server/parent.h"
#include "image/rbd/server/reply.h"

/* Metadata of an image. Its value is the image's name, since clones inherit metadata. */
#define MARK_KEY "novasnap-copy"
#define NAME_SIZE 256
/* How much of an image is looked at between two reports of progress. */
#define WINDOW ((uint64_t)64 << 30)

int copy_mark(rados_ioctx_t io, const char *name)
{
	rbd_image_t image;
	int rc = rbd_open(io, name, &image, NULL);

	if (rc < 0)
		return rc;
	rc = rbd_metadata_set(image, MARK_KEY, name);
	(void)rbd_close(image);
	return rc;
}

static int has_mark(rbd_image_t image, const char *name)
{
	char value[NAME_SIZE];
	size_t size = sizeof(value);
	int rc = rbd_metadata_get(image, MARK_KEY, value, &size);

	if (rc == 0)
		return strncmp(value, name, sizeof(value)) == 0;
	return rc == -ENOENT || rc == -ERANGE ? 0 : rc;
}

static int stop_at_data(uint64_t offset, size_t length, int exists, void *opaque)
{
	(void)offset;
	(void)length;
	(void)opaque;
	return exists ? -ECANCELED : 0;
}

/* Returns 1, 0, or a negative errno value. */
static int has_data(struct server *server, rbd_image_t image)
{
	uint64_t size = 0;
	int rc = rbd_get_size(image, &size);

	for (uint64_t at = 0; rc == 0 && at < size; at += WINDOW) {
		rc = rbd_diff_iterate2(image, NULL, at, MIN(WINDOW, size - at), 1, 1, stop_at_data,
				       NULL);
		reply_progress(server, 0, 0);
	}
	return rc == -ECANCELED ? 1 : rc;
}

int copy_is_ours(struct server *server, rbd_image_t image, const char *name)
{
	int rc = has_mark(image, name);

	if (rc == 0)
		rc = parent_has_prefix(server, image, IMAGE_RBD_SNAP_PREFIX);
	if (rc != -ENOENT)
		return rc;
	rc = has_data(server, image);
	return rc < 0 ? rc : !rc;
}
