/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The folders in run_dir that hold the sockets of exports.
 */
#include "virt/export-folder.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER_PREFIX "nbd-"

char *export_folder_name(const char *run_dir)
{
	g_autofree char *id = g_uuid_string_random();

	return g_strdup_printf("%s/" FOLDER_PREFIX "%.8s", run_dir, id);
}

bool export_folder_owns(const char *run_dir, const char *socket)
{
	g_autofree char *prefix = g_build_filename(run_dir, FOLDER_PREFIX, NULL);

	return g_str_has_prefix(socket, prefix);
}

/* -1: another process has locked the folder, or it does not exist. */
static int lock_folder(const char *folder, int operation)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0 && flock(fd, operation) == 0)
		return fd;
	if (fd >= 0)
		(void)close(fd);
	return -1;
}

int export_folder_make(const char *folder, int *ret_lock, GError **error)
{
	g_autofree char *run_dir = g_path_get_dirname(folder);
	/* export_folder_find_left must not see the folder before it is locked. */
	int run_dir_lock = lock_folder(run_dir, LOCK_EX);
	int rc = g_mkdir(folder, 0700);

	*ret_lock = -1;
	if (rc == 0)
		*ret_lock = lock_folder(folder, LOCK_EX | LOCK_NB);
	else
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
			    "creating the folder %s in [novasnap]run_dir: %s", folder,
			    g_strerror(errno));
	if (run_dir_lock >= 0)
		(void)close(run_dir_lock);
	return rc;
}

/* Root changes the folder's owner to QEMU's user. Any other user gives access to the group that the
 * folder inherits from run_dir, which QEMU's socket in it inherits, too. */
int export_folder_share(const char *folder, const struct virt_user *user, GError **error)
{
	int rc = 0;

	if (geteuid() == 0)
		rc = chown(folder, user->uid, user->gid);
	else if (geteuid() != user->uid)
		rc = chmod(folder, S_ISGID | 0770);
	if (rc < 0)
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
			    "sharing the folder %s with QEMU's user: %s", folder,
			    g_strerror(errno));
	return rc;
}

bool export_folder_is_held(const char *socket)
{
	g_autofree char *folder = g_path_get_dirname(socket);
	int fd;

	if (!g_file_test(folder, G_FILE_TEST_IS_DIR))
		return false;
	fd = lock_folder(folder, LOCK_EX | LOCK_NB);
	if (fd < 0)
		return true;
	(void)close(fd);
	return false;
}

int export_folder_remove(const char *socket, const char *scratch, GError **error)
{
	g_autofree char *folder = g_path_get_dirname(socket);
	const char *const files[] = {scratch, socket};

	for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
		if (!files[i] || g_unlink(files[i]) == 0 || errno == ENOENT)
			continue;
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "cannot remove %s: %s", files[i],
			    g_strerror(errno));
		return -1;
	}
	if (g_rmdir(folder) == 0 || errno == ENOENT)
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "cannot remove %s: %s", folder,
		    g_strerror(errno));
	return -1;
}

GPtrArray *export_folder_find_left(const char *run_dir)
{
	GPtrArray *found = g_ptr_array_new_with_free_func(g_free);
	GDir *folder = g_dir_open(run_dir, 0, NULL);
	int lock = lock_folder(run_dir, LOCK_EX);
	const char *name;

	while (folder && (name = g_dir_read_name(folder))) {
		char *socket = g_build_filename(run_dir, name, EXPORT_SOCKET, NULL);

		if (g_str_has_prefix(name, FOLDER_PREFIX) && !export_folder_is_held(socket))
			g_ptr_array_add(found, socket);
		else
			g_free(socket);
	}
	if (folder)
		g_dir_close(folder);
	if (lock >= 0)
		(void)close(lock);
	return found;
}
