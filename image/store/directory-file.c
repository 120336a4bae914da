/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files of a directory store.
 */
#include "image/store/directory-file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdbool.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/image.h"

#define PART_SUFFIX ".part"

char *directory_file_path(const char *folder, const char *id, const char *suffix)
{
	g_autofree char *name = g_strconcat(id, suffix, NULL);

	return g_build_filename(folder, name, NULL);
}

int directory_file_set_error(GError **error, const char *action, const char *path)
{
	int saved = errno;

	g_set_error(error, IMAGE_ERROR,
		    saved == ENOSPC   ? IMAGE_ERROR_TOO_LARGE
		    : saved == ENOENT ? IMAGE_ERROR_NOT_FOUND
				      : IMAGE_ERROR_FAILED,
		    "%s %s: %s", action, path, g_strerror(saved));
	return -1;
}

/* Makes a rename in the folder durable. */
static int sync_folder(const char *path, GError **error)
{
	g_autofree char *folder = g_path_get_dirname(path);
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 ? -1 : fsync(fd);

	if (rc < 0)
		(void)directory_file_set_error(error, "writing to disk the folder", folder);
	if (fd >= 0)
		(void)close(fd);
	return rc;
}

static bool is_same_file(int fd, const char *path)
{
	struct stat opened, named;

	return fstat(fd, &opened) == 0 && lstat(path, &named) == 0 &&
	       opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

/* Opens and locks a part file: two jobs or processes may write the same image. */
static int open_locked(const char *part_path, int flags, GError **error)
{
	for (;;) {
		int fd = open(part_path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, 0640);

		if (fd < 0)
			return directory_file_set_error(error, "opening", part_path);
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			if (errno == EWOULDBLOCK)
				g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_CONFLICT,
					    "opening %s: another writer holds its lock", part_path);
			else
				(void)directory_file_set_error(error, "locking", part_path);
			(void)close(fd);
			return -1;
		}
		/* Another writer may have renamed or deleted the file before the lock was
		 * acquired. */
		if (is_same_file(fd, part_path))
			return fd;
		(void)close(fd);
	}
}

/* Closing the file releases the lock, so it is closed last. */
static void free_part(struct directory_part *part)
{
	(void)close(part->fd);
	g_free(part->path);
	g_free(part->part_path);
}

int directory_part_create(struct directory_part *part, const char *path, GError **error)
{
	g_autofree char *part_path = g_strconcat(path, PART_SUFFIX, NULL);
	int fd = open_locked(part_path, O_CREAT, error);

	/* O_TRUNC would truncate another writer's file before it is locked. */
	if (fd >= 0 && ftruncate(fd, 0) < 0) {
		(void)directory_file_set_error(error, "truncating", part_path);
		(void)close(fd);
		return -1;
	}
	if (fd < 0)
		return -1;
	*part = (struct directory_part){
		.path = g_strdup(path), .part_path = g_steal_pointer(&part_path), .fd = fd};
	return 0;
}

int directory_part_commit(struct directory_part *part, GError **error)
{
	int rc = 0;

	if (fsync(part->fd) < 0)
		rc = directory_file_set_error(error, "writing to disk", part->part_path);
	else if (rename(part->part_path, part->path) < 0)
		rc = directory_file_set_error(error, "renaming", part->part_path);
	if (rc < 0) {
		directory_part_discard(part);
		return -1;
	}
	rc = sync_folder(part->path, error);
	free_part(part);
	return rc;
}

void directory_part_discard(struct directory_part *part)
{
	(void)g_unlink(part->part_path);
	free_part(part);
}

int directory_part_remove(const char *path, GError **error)
{
	g_autofree char *part_path = g_strconcat(path, PART_SUFFIX, NULL);
	g_autoptr(GError) local = NULL;
	int fd = open_locked(part_path, 0, &local);
	int rc = 0;

	if (fd < 0 && g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND))
		return 0;
	if (fd < 0) {
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	if (g_unlink(part_path) < 0)
		rc = directory_file_set_error(error, "deleting", part_path);
	(void)close(fd);
	return rc;
}
