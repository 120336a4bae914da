/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The folders that hold the temporary files of a snapshot.
 */
#include "virt/staging.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <sys/stat.h>

#include "virt/virt.h"

#define FOLDER_PREFIX "novasnap-"

char *staging_folder_name(const char *parent)
{
	g_autofree char *id = g_uuid_string_random();

	return g_strdup_printf("%s/" FOLDER_PREFIX "%.8s", parent, id);
}

int staging_folder_make(const char *folder, GError **error)
{
	g_autofree char *parent = g_path_get_dirname(folder);

	/* The umask applies to g_mkdir, but not to chmod. */
	if (g_mkdir_with_parents(parent, 0755) == 0 && g_mkdir(folder, 0711) == 0 &&
	    chmod(folder, 0711) == 0)
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
		    "creating a folder in [libvirt]snapshots_directory %s: %s", parent,
		    g_strerror(errno));
	return -1;
}

bool staging_folder_is_ours(const char *folder)
{
	g_autofree char *name = g_path_get_basename(folder);

	return g_path_is_absolute(folder) && g_str_has_prefix(name, FOLDER_PREFIX);
}

bool staging_owns(const char *parent, const char *path)
{
	g_autofree char *prefix = g_build_filename(parent, FOLDER_PREFIX, NULL);

	return g_str_has_prefix(path, prefix);
}

static int remove_file(const char *folder, const char *name, GError **error)
{
	g_autofree char *path = g_build_filename(folder, name, NULL);

	if (g_unlink(path) == 0 || errno == ENOENT)
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "cannot remove %s: %s", path,
		    g_strerror(errno));
	return -1;
}

int staging_folder_remove(const char *folder, GError **error)
{
	if (remove_file(folder, STAGING_DELTA, error) < 0 ||
	    remove_file(folder, STAGING_IMAGE, error) < 0)
		return -1;
	if (g_rmdir(folder) == 0 || errno == ENOENT)
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "cannot remove %s: %s", folder,
		    g_strerror(errno));
	return -1;
}
