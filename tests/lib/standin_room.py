# SPDX-License-Identifier: LGPL-2.1-or-later
"""A folder that seems to have plenty of room, for the programs that are started with `env`: a library stands in for
statvfs. This is what a thin pool that is nearly full, or another mount namespace, shows to novasnapd."""
import os
import subprocess

SOURCE = r"""
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

int statvfs(const char *path, struct statvfs *fs)
{
	return lie("statvfs", path, fs);
}

int statvfs64(const char *path, struct statvfs64 *fs)
{
	return lie("statvfs64", path, (struct statvfs *)fs);
}
"""


class RoomStandIn:
    def __init__(self, folder, path):
        """`folder`: for the library; `path`: the folder that seems to have room."""
        library = folder.file("roomy.so")
        subprocess.run(["gcc", "-shared", "-fPIC", "-O", "-o", library, "-xc", "-", "-ldl"], input=SOURCE, text=True,
                       check=True, timeout=60)
        self.env = {"LD_PRELOAD": library, "NOVASNAP_ROOMY_FOLDER": path,
                    "ASAN_OPTIONS": f"{os.environ.get('ASAN_OPTIONS', '')}:verify_asan_link_order=0".strip(":")}
