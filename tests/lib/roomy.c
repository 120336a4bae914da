/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A library that is loaded before the C library: the folder NOVASNAP_ROOMY_FOLDER seems to have 1
 * TiB of room (see standin_room.py).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

static int lie(const char *name, const char *path, struct statvfs *fs)
{
	int (*real)(const char *, struct statvfs *) = dlsym(RTLD_NEXT, name);
	const char *folder = getenv("NOVASNAP_ROOMY_FOLDER");
	int rc = real(path, fs);

	if (rc == 0 && folder && strncmp(path, folder, strlen(folder)) == 0)
		fs->f_bfree = fs->f_bavail = (1ULL << 40) / fs->f_frsize;
	return rc;
}

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): glibc's names are reserved. */
int statvfs(const char *path, struct statvfs *fs)
{
	return lie("statvfs", path, fs);
}

int statvfs64(const char *path, struct statvfs64 *fs)
{
	return lie("statvfs64", path, (struct statvfs *)fs);
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
