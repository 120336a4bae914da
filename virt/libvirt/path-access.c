/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Users, and whether they can access a path. The decision uses modes and groups. A folder with an
 * access control list is assumed to give access, since its owner set that list on purpose.
 */
#include "virt/libvirt/path-access.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MAX_GROUPS 1024

static bool find_user(const char *text, uid_t *ret_uid)
{
	char buffer[4096];
	struct passwd entry, *found = NULL;
	guint64 number;

	if (g_ascii_string_to_unsigned(text + (*text == '+'), 10, 0, UINT32_MAX, &number, NULL)) {
		*ret_uid = (uid_t)number;
		return true;
	}
	if (getpwnam_r(text, &entry, buffer, sizeof(buffer), &found) == 0 && found)
		*ret_uid = found->pw_uid;
	return found != NULL;
}

static bool find_group(const char *text, gid_t *ret_gid)
{
	char buffer[16384];
	struct group entry, *found = NULL;
	guint64 number;

	if (g_ascii_string_to_unsigned(text + (*text == '+'), 10, 0, UINT32_MAX, &number, NULL)) {
		*ret_gid = (gid_t)number;
		return true;
	}
	if (getgrnam_r(text, &entry, buffer, sizeof(buffer), &found) == 0 && found)
		*ret_gid = found->gr_gid;
	return found != NULL;
}

bool virt_user_parse_label(const char *label, struct virt_user *ret_user)
{
	g_auto(GStrv) parts = g_strsplit(label ? label : "", ":", 2);

	return parts[0] && parts[1] && *parts[0] && *parts[1] &&
	       find_user(parts[0], &ret_user->uid) && find_group(parts[1], &ret_user->gid);
}

char *virt_user_name(uid_t uid)
{
	char buffer[4096];
	struct passwd entry, *found = NULL;

	if (getpwuid_r(uid, &entry, buffer, sizeof(buffer), &found) == 0 && found)
		return g_strdup(found->pw_name);
	return g_strdup_printf("%u", (unsigned)uid);
}

static char *group_name(gid_t gid)
{
	char buffer[16384];
	struct group entry, *found = NULL;

	if (getgrgid_r(gid, &entry, buffer, sizeof(buffer), &found) == 0 && found)
		return g_strdup(found->gr_name);
	return g_strdup_printf("%u", (unsigned)gid);
}

/* libvirt runs QEMU with all groups of QEMU's user. */
static bool is_in_group(const struct virt_user *user, gid_t gid)
{
	g_autofree char *name = virt_user_name(user->uid);
	gid_t groups[MAX_GROUPS];
	int count = MAX_GROUPS;

	if (user->gid == gid)
		return true;
	if (g_ascii_isdigit(*name) || getgrouplist(name, user->gid, groups, &count) < 0)
		return false;
	for (int i = 0; i < count; i++) {
		if (groups[i] == gid)
			return true;
	}
	return false;
}

static bool is_process_in_group(gid_t gid)
{
	gid_t groups[MAX_GROUPS];
	int count = getgroups(MAX_GROUPS, groups);

	for (int i = 0; i < count; i++) {
		if (groups[i] == gid)
			return true;
	}
	return getegid() == gid;
}

static bool has_access_list(const char *path)
{
	return getxattr(path, "system.posix_acl_access", NULL, 0) > 0;
}

static bool can_traverse(const struct virt_user *user, const char *folder, const struct stat *st)
{
	if (user->uid == 0 || has_access_list(folder))
		return true;
	if (st->st_uid == user->uid)
		return st->st_mode & S_IXUSR;
	return st->st_mode & (is_in_group(user, st->st_gid) ? S_IXGRP : S_IXOTH);
}

static int check_traversable(const struct virt_user *user, const char *folder, GError **error)
{
	g_autofree char *name = virt_user_name(user->uid);
	g_autofree char *owner = NULL;
	g_autofree char *group = NULL;
	struct stat st;

	if (stat(folder, &st) < 0) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_CONFIG, "cannot read the mode of %s: %s",
			    folder, g_strerror(errno));
		return -1;
	}
	if (can_traverse(user, folder, &st))
		return 0;
	owner = virt_user_name(st.st_uid);
	group = group_name(st.st_gid);
	g_set_error(
		error, VIRT_ERROR, VIRT_ERROR_CONFIG,
		"QEMU's user %s cannot traverse %s (mode %04o, owner %s:%s); allow it with `chmod "
		"o+x %s`, or set another folder",
		name, folder, (unsigned)st.st_mode & 07777, owner, group, folder);
	return -1;
}

int virt_user_check_reach(const struct virt_user *user, const char *path, GError **error)
{
	char *real = realpath(path, NULL);
	int rc;

	if (!real)
		return check_traversable(user, path, error);
	rc = check_traversable(user, "/", error);
	for (char *at = real + 1; rc == 0 && *at; at++) {
		if (*at != '/')
			continue;
		*at = '\0';
		rc = check_traversable(user, real, error);
		*at = '/';
	}
	if (rc == 0 && real[1])
		rc = check_traversable(user, real, error);
	free(real);
	return rc;
}

int virt_user_check_shared(const struct virt_user *user, const char *folder, GError **error)
{
	g_autofree char *group = NULL;
	g_autofree char *why = NULL;
	struct stat st;

	/* Root can change the owner of its files to QEMU's user. */
	if (geteuid() == 0 || geteuid() == user->uid || stat(folder, &st) < 0 ||
	    has_access_list(folder))
		return 0;
	group = group_name(st.st_gid);
	if (!(st.st_mode & S_ISGID))
		why = g_strdup("new files do not inherit its group (setgid)");
	else if (!is_in_group(user, st.st_gid))
		why = g_strdup_printf("QEMU's user is not in its group %s", group);
	else if (!is_process_in_group(st.st_gid))
		why = g_strdup_printf("novasnapd's user is not in its group %s", group);
	if (!why)
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_CONFIG,
		    "novasnapd does not run as root, and cannot share files in %s with QEMU: %s; "
		    "the folder needs mode 2770 and a group that both users are in, as in "
		    "tmpfiles.d/novasnap.conf (novasnap check has details)",
		    folder, why);
	return -1;
}
