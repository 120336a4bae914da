/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The folders in [libvirt]snapshots_directory that hold the temporary files of a snapshot: a delta
 * that QEMU writes, and the finished image.
 */
#ifndef NOVASNAP_VIRT_STAGING_H
#define NOVASNAP_VIRT_STAGING_H

#include <glib.h>
#include <stdbool.h>

/* The files in a staging folder. */
#define STAGING_DELTA "delta"
#define STAGING_IMAGE "image"

/* A new name for a folder in `parent`; the caller frees it. */
char *staging_folder_name(const char *parent);

/* Creates the folder, and `parent` if it is missing. QEMU's user may traverse it, but not list it.
 * Returns 0, or -1 with VIRT_ERROR_FAILED. */
int staging_folder_make(const char *folder, GError **error);

/* Whether the path has the form of staging_folder_name, in any parent. */
bool staging_folder_is_ours(const char *folder);
/* Whether a file is in a staging folder of `parent`. */
bool staging_owns(const char *parent, const char *path);

/* Removes the folder and its files, if they exist. Returns 0, or -1 with VIRT_ERROR_FAILED. */
int staging_folder_remove(const char *folder, GError **error);

#endif
