/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The folders in run_dir that hold the sockets of exports. Each export has its own folder, which
 * the process that created it locks for its lifetime.
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

/* Creates the folder, with access for the current user only. It counts as in use until the
 * descriptor *ret_lock is closed (-1: it could not be locked). Returns 0, or -1 with
 * VIRT_ERROR_FAILED. */
int export_folder_make(const char *folder, int *ret_lock, GError **error);

/* Lets QEMU's user create its socket in the folder. Returns 0, or -1 with VIRT_ERROR_FAILED. */
int export_folder_share(const char *folder, const struct virt_user *user, GError **error);

/* Whether a socket is in an export folder of run_dir, created by this process or another one. */
bool export_folder_owns(const char *run_dir, const char *socket);

/* Whether the process that created the socket's folder is still running. False if there is no
 * folder. */
bool export_folder_is_held(const char *socket);

/* Removes the scratch file (NULL: none), the socket and its folder, if they exist. Returns 0, or -1
 * with VIRT_ERROR_FAILED. */
int export_folder_remove(const char *socket, const char *scratch, GError **error);

/* The sockets in all export folders of run_dir that no process holds, as an array of strings, which
 * the caller unrefs. It takes a lock, so that no folder is created meanwhile. */
GPtrArray *export_folder_find_left(const char *run_dir);

#endif
