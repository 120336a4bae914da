/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: the configured folders.
 */
#include "agent/check/folders.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MIB ((uint64_t)1024 * 1024)
/* Enough for the journal and other small files. */
#define FREE_MIN_MIB 64
/* The result is a warning if the free space is less than this many times the required space. */
#define FREE_WARN_FACTOR 4

enum folder_flags {
	FOLDER_FOR_QEMU = 1 << 0,  /* QEMU's user must be able to access it */
	FOLDER_SHARED = 1 << 1,	   /* QEMU's user must be able to use files created there */
	FOLDER_PRIVATE = 1 << 2,   /* no other user may read it */
	FOLDER_ON_DEMAND = 1 << 3, /* it may be missing; then its parent is checked */
	FOLDER_OF_STREAM = 1 << 4, /* the method stream needs it */
};

struct folder {
	const char *name;
	const char *path;
	unsigned flags;
	uint64_t free_min_mib;
};

static uint64_t free_mib(const char *path)
{
	struct statvfs fs;

	return statvfs(path, &fs) < 0 ? 0 : (uint64_t)fs.f_bavail * fs.f_frsize / MIB;
}

/* Describes a problem with the folder's permissions; NULL: none. */
static const char *find_mode_problem(const struct folder *folder, const struct stat *st)
{
	if (st->st_mode & S_IWOTH)
		return "everybody may write to it; run chmod o-w";
	if ((folder->flags & FOLDER_PRIVATE) && (st->st_mode & (S_IRWXG | S_IRWXO)))
		return "other users may read it, and it contains users' messages; run chmod 0700";
	if (g_access(folder->path, W_OK | X_OK) != 0)
		return "this user may not write to it; run novasnap check as novasnapd's user, or "
		       "make that user the owner";
	return NULL;
}

static int check_qemu_access(const struct check *check, const struct folder *folder, GError **error)
{
	struct virt_user user;

	if (!check->host || !(folder->flags & FOLDER_FOR_QEMU))
		return 0;
	if (virt_host_qemu_user(check->host, &user, error) < 0 ||
	    virt_user_check_reach(&user, folder->path, error) < 0)
		return -1;
	return folder->flags & FOLDER_SHARED ? virt_user_check_shared(&user, folder->path, error)
					     : 0;
}

static void check_existing(struct check *check, const struct folder *folder, const struct stat *st)
{
	g_autofree char *subject = g_strdup_printf("%s %s", folder->name, folder->path);
	g_autofree char *owner = virt_user_name(st->st_uid);
	g_autoptr(GError) error = NULL;
	const char *problem = find_mode_problem(folder, st);
	unsigned mode = (unsigned)st->st_mode & 07777;
	uint64_t available = free_mib(folder->path);

	if (problem)
		check_report(check, CHECK_FAIL, subject, "mode %04o, owner %s: %s", mode, owner,
			     problem);
	else if (check_qemu_access(check, folder, &error) < 0)
		check_report(check, CHECK_FAIL, subject, "%s", error->message);
	else if (available < folder->free_min_mib)
		check_report(check, CHECK_FAIL, subject,
			     "%" G_GUINT64_FORMAT " MiB free, at least %" G_GUINT64_FORMAT
			     " MiB are needed; make room, or set %s to another folder",
			     available, folder->free_min_mib, folder->name);
	else
		check_report(check,
			     available < folder->free_min_mib * FREE_WARN_FACTOR ? CHECK_WARN
										 : CHECK_OK,
			     subject, "mode %04o, owner %s, %" G_GUINT64_FORMAT " MiB free", mode,
			     owner, available);
}

/* The nearest existing parent folder of `path`; the caller frees it. */
static char *find_existing_parent(const char *path)
{
	char *parent = g_path_get_dirname(path);

	while (!g_file_test(parent, G_FILE_TEST_EXISTS)) {
		char *next = g_path_get_dirname(parent);

		g_free(parent);
		parent = next;
	}
	return parent;
}

static void check_missing(struct check *check, const struct folder *folder)
{
	g_autofree char *subject = g_strdup_printf("%s %s", folder->name, folder->path);
	g_autofree char *parent = find_existing_parent(folder->path);

	if (g_access(parent, W_OK | X_OK) == 0)
		check_report(check, CHECK_OK, subject,
			     "does not exist yet; novasnapd will create it");
	else
		check_report(check, CHECK_FAIL, subject,
			     "does not exist, and this user may not create it in %s; "
			     "tmpfiles.d/novasnap.conf has its owner and mode",
			     parent);
}

static void check_folder(struct check *check, const struct folder *folder)
{
	g_autofree char *subject = g_strdup_printf("%s %s", folder->name, folder->path);
	struct stat st;
	bool exists = stat(folder->path, &st) == 0;

	if (exists && S_ISDIR(st.st_mode))
		check_existing(check, folder, &st);
	else if (exists)
		check_report(check, CHECK_FAIL, subject, "is not a folder");
	else if (errno != ENOENT)
		check_report(check, CHECK_FAIL, subject, "%s", g_strerror(errno));
	else if (!(folder->flags & FOLDER_ON_DEMAND))
		check_missing(check, folder);
}

void check_folders(struct check *check)
{
	const struct config *config = check->config;
	g_autofree char *journal = g_build_filename(config->state_dir, "journal", NULL);
	const struct folder folders[] = {
		{"state_dir", config->state_dir, 0, FREE_MIN_MIB},
		{"journal", journal, FOLDER_PRIVATE | FOLDER_ON_DEMAND, 0},
		{"rejected", config->rpc.rejected_dir, FOLDER_PRIVATE | FOLDER_ON_DEMAND, 0},
		{"run_dir", config->run_dir, FOLDER_FOR_QEMU | FOLDER_SHARED | FOLDER_OF_STREAM, 1},
		{"scratch_dir", config->virt.scratch_dir, FOLDER_FOR_QEMU | FOLDER_OF_STREAM,
		 config->virt.scratch_reserve_mib},
		{"snapshots_directory", config->virt.snapshots_directory, FOLDER_FOR_QEMU,
		 FREE_MIN_MIB},
		{"images_dir", config->image.directory ? config->image.images_dir : NULL, 0,
		 FREE_MIN_MIB},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(folders); i++) {
		unsigned failed = check->failed;

		if (folders[i].path)
			check_folder(check, &folders[i]);
		if (check->failed > failed && (folders[i].flags & FOLDER_OF_STREAM))
			check->bad_stream_folder = folders[i].name;
	}
}
