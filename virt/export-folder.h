/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The folders in run_dir that hold the sockets of exports. Each export has a folder of its own,
 * which is locked while the process that made it lives.
 */
#ifndef NOVASNAP_VIRT_EXPORT_FOLDER_H
#define NOVASNAP_VIRT_EXPORT_FOLDER_H

#include <glib.h>
#include <stdbool.h>

#include "virt/virt.h"

/* The name of the socket in the folder. */
#define EXPORT_SOCKET "export"

/* A new name for a folder in run_dir; the caller frees it. */
char *export_folder_name(const char *run_dir);

/* Makes the folder, for this user only. It counts as held until the descriptor *ret_lock is closed
 * (-1: it could not be locked). Returns 0, or -1 with VIRT_ERROR_FAILED. */
int export_folder_make(const char *folder, int *ret_lock, GError **error);

/* Lets QEMU's user make its socket in the folder. Returns 0, or -1 with VIRT_ERROR_FAILED. */
int export_folder_share(const char *folder, const struct virt_user *user, GError **error);

/* Whether a socket lies in such a folder of run_dir, of this process or another. */
bool export_folder_owns(const char *run_dir, const char *socket);

/* Whether the process that made the folder of this socket lives. False where there is no folder. */
bool export_folder_is_held(const char *socket);

/* Removes the scratch file (NULL: none), the socket and its folder, as far as they are there.
 * Returns 0, or -1 with VIRT_ERROR_FAILED. */
int export_folder_remove(const char *socket, const char *scratch, GError **error);

/* The sockets in all folders of run_dir that no process holds: an array of strings, which the
 * caller unrefs. No folder is made meanwhile. */
GPtrArray *export_folder_find_left(const char *run_dir);

#endif
