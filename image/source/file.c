/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A regular file as an image source.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/file-io.h"
#include "image/source.h"

struct file_source {
	struct image_source head;
	int fd;
	char *path; /* for messages only: the file may be unlinked */
};

static int file_source_read(struct image_source *source, uint64_t offset, void *buf, size_t len,
			    GError **error)
{
	struct file_source *file = (struct file_source *)source;
	ssize_t got = image_file_read(file->fd, buf, len, offset);

	if (got < 0) {
		int saved = errno;

		g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(saved),
			    "reading %s at byte %" G_GUINT64_FORMAT ": %s", file->path, offset,
			    g_strerror(saved));
		return -1;
	}
	if ((size_t)got < len) {
		g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_IO,
			    "%s ends at byte %" G_GUINT64_FORMAT ", but had %" G_GUINT64_FORMAT
			    " bytes when it was opened: another program truncated it",
			    file->path, offset + (uint64_t)got, source->size);
		return -1;
	}
	return 0;
}

static void file_source_free(struct image_source *source)
{
	struct file_source *file = (struct file_source *)source;

	(void)close(file->fd);
	g_free(file->path);
	g_free(file);
}

static const struct image_source_ops file_source_ops = {
	.read = file_source_read,
	.free = file_source_free,
};

struct image_source *image_source_new_file(const char *path, GError **error)
{
	struct file_source *file;
	struct stat st = {0};
	int fd = g_open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY, 0);
	int saved = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		saved = errno;
	else if (!S_ISREG(st.st_mode))
		saved = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	if (saved) {
		if (fd >= 0)
			(void)close(fd);
		g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(saved),
			    "opening %s to read an image: %s", path,
			    saved == EINVAL ? "not a regular file" : g_strerror(saved));
		return NULL;
	}
	/* A hint only: the file is read once from start to end. */
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);

	file = g_new0(struct file_source, 1);
	file->head.ops = &file_source_ops;
	file->head.size = (uint64_t)st.st_size;
	file->fd = fd;
	file->path = g_strdup(path);
	return &file->head;
}
