/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files of a directory store. A file is written as a part file, PATH.part, and renamed to PATH
 * when it is complete and on disk. The writer holds a lock on the part file, which the kernel
 * releases when the process ends. A part file left by a killed writer is overwritten by the next
 * writer or deleted with the image.
 */
#ifndef NOVASNAP_IMAGE_DIRECTORY_FILE_H
#define NOVASNAP_IMAGE_DIRECTORY_FILE_H

#include <glib.h>

/* Returns the path FOLDER/ID + suffix, which the caller frees with g_free(). */
char *directory_file_path(const char *folder, const char *id, const char *suffix);

/* Sets an error from errno: IMAGE_ERROR_TOO_LARGE if the disk is full, IMAGE_ERROR_NOT_FOUND, or
 * IMAGE_ERROR_FAILED. The message is "`action` `path`: ...". Returns -1. */
int directory_file_set_error(GError **error, const char *action, const char *path);

/* A file being written. */
struct directory_part {
	char *path; /* of the complete file */
	char *part_path;
	int fd; /* for writing at the offsets of the file */
};

/*
 * Creates an empty part file for the file `path` and locks it. Finish it with
 * directory_part_commit() or directory_part_discard(). Returns 0, or -1 with IMAGE_ERROR_CONFLICT
 * if another thread or process is writing the file, or an error of directory_file_set_error().
 */
int directory_part_create(struct directory_part *part, const char *path, GError **error);

/* Flushes the part file to disk and renames it to `path`, replacing an existing file. If that
 * fails, deletes the part file. Returns 0, or -1 with an error. */
int directory_part_commit(struct directory_part *part, GError **error);

/* Deletes the part file. */
void directory_part_discard(struct directory_part *part);

/* Deletes the part file left by a killed writer of the file `path`, if there is one. Returns 0, or
 * -1 with an error as from directory_part_create(). */
int directory_part_remove(const char *path, GError **error);

#endif
