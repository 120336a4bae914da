/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: the folders.
 */
#include <errno.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/check/check.h"

#define MIB ((uint64_t)1024 * 1024)
#define LITTLE_MIB 64

enum {
	FOR_QEMU = 1 << 0, /* its user passes through */
	SHARED = 1 << 1,   /* and makes something in what we make there */
	PRIVATE = 1 << 2,  /* nobody else reads in it */
	OPTIONAL = 1 << 3, /* it is made when it is needed, beside others that are looked at */
};

struct folder {
	const char *name;
	const char *path;
	unsigned flags;
	uint64_t least_mib; /* free */
};

static uint64_t free_mib(const char *path)
{
	struct statvfs fs;

	return statvfs(path, &fs) < 0 ? 0 : (uint64_t)fs.f_bavail * fs.f_frsize / MIB;
}

/* What is wrong with its modes; NULL: nothing. */
static const char *judge_modes(const struct folder *folder, const struct stat *st)
{
	if (st->st_mode & S_IWOTH)
		return "everybody may write in it: chmod o-w";
	if ((folder->flags & PRIVATE) && (st->st_mode & (S_IRWXG | S_IRWXO)))
		return "others may read in it, and it holds what users sent: chmod 0700";
	if (g_access(folder->path, W_OK | X_OK) != 0)
		return "this user may not write in it: run novasnap check as novasnapd's user, or "
		       "give it the folder";
	return NULL;
}

static int check_qemu(const struct check *check, const struct folder *folder, GError **error)
{
	struct virt_user user;

	if (!check->host || !(folder->flags & FOR_QEMU))
		return 0;
	if (virt_host_qemu_user(check->host, &user, error) < 0 ||
	    virt_user_check_reach(&user, folder->path, error) < 0)
		return -1;
	return folder->flags & SHARED ? virt_user_check_shared(&user, folder->path, error) : 0;
}

static void look(struct check *check, const struct folder *folder, const struct stat *st)
{
	g_autofree char *what = g_strdup_printf("%s %s", folder->name, folder->path);
	g_autofree char *owner = virt_user_name(st->st_uid);
	g_autoptr(GError) error = NULL;
	const char *wrong = judge_modes(folder, st);
	unsigned mode = (unsigned)st->st_mode & 07777;
	uint64_t room = free_mib(folder->path);

	if (wrong)
		check_say(check, CHECK_FAIL, what, "mode %04o, of %s: %s", mode, owner, wrong);
	else if (check_qemu(check, folder, &error) < 0)
		check_say(check, CHECK_FAIL, what,
			  "%s; conf/novasnap.tmpfiles makes folders that do", error->message);
	else if (room < folder->least_mib)
		check_say(check, CHECK_FAIL, what,
			  "%" G_GUINT64_FORMAT " MiB are free, and %" G_GUINT64_FORMAT
			  " are the least: make room, or give it another place",
			  room, folder->least_mib);
	else
		check_say(check, room < folder->least_mib * 4 ? CHECK_WARN : CHECK_OK, what,
			  "mode %04o, of %s, %" G_GUINT64_FORMAT " MiB free", mode, owner, room);
}

/* The folder that is there, in which it would be made. */
static char *nearest(const char *path)
{
	char *at = g_path_get_dirname(path);

	while (!g_file_test(at, G_FILE_TEST_EXISTS)) {
		char *up = g_path_get_dirname(at);

		g_free(at);
		at = up;
	}
	return at;
}

static void check_one(struct check *check, const struct folder *folder)
{
	g_autofree char *what = g_strdup_printf("%s %s", folder->name, folder->path);
	g_autofree char *above = NULL;
	struct stat st;

	if (stat(folder->path, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			look(check, folder, &st);
		else
			check_say(check, CHECK_FAIL, what, "it is no folder");
		return;
	}
	if (errno != ENOENT) {
		check_say(check, CHECK_FAIL, what, "%s", g_strerror(errno));
		return;
	}
	if (folder->flags & OPTIONAL)
		return;
	above = nearest(folder->path);
	if (g_access(above, W_OK | X_OK) == 0)
		check_say(check, CHECK_WARN, what, "it is not there yet: novasnapd makes it");
	else
		check_say(check, CHECK_FAIL, what,
			  "it is not there, and this user cannot make it in %s: make it, as "
			  "conf/novasnap.tmpfiles does",
			  above);
}

void check_folders(struct check *check)
{
	const struct config *config = check->config;
	g_autofree char *journal = g_build_filename(config->state_dir, "journal", NULL);
	const struct folder folders[] = {
		{"state_dir", config->state_dir, 0, LITTLE_MIB},
		{"journal", journal, PRIVATE | OPTIONAL, 0},
		{"rejected", config->rpc.rejected_dir, PRIVATE | OPTIONAL, 0},
		{"run_dir", config->run_dir, FOR_QEMU | SHARED, 1},
		{"scratch_dir", config->virt.scratch_dir, FOR_QEMU,
		 config->virt.scratch_reserve_mib},
		{"snapshots_directory", config->virt.snapshots_directory, FOR_QEMU, LITTLE_MIB},
		{"images_dir", config->image.images_dir, 0, LITTLE_MIB},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(folders); i++) {
		if (folders[i].path &&
		    (folders[i].path != config->image.images_dir || config->image.directory))
			check_one(check, &folders[i]);
	}
}
