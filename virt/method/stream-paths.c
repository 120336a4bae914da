/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The places of an export: a folder for its socket, which of a running guest is QEMU's to write in
 * and ours to connect to, and the name of the scratch file.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virt/method/stream.h"

/* As libvirt tells it; without that, whoever owns the disk while it runs. */
static int find_user(struct snapshot *snapshot, struct virt_user *ret_user, GError **error)
{
	char *xml = domain_xml(snapshot->domain, error);
	g_autoptr(GError) local = NULL;
	struct stat disk;
	int rc;

	if (!xml)
		return -1;
	rc = about_qemu_user(snapshot->connection, xml, ret_user, &local);
	free(xml);
	if (rc < 0 && stat(disk_top(snapshot->disk)->path, &disk) == 0) {
		*ret_user = (struct virt_user){disk.st_uid, disk.st_gid};
		rc = 0;
	}
	if (rc < 0)
		g_propagate_error(error, g_steal_pointer(&local));
	return rc;
}

int stream_choose_places(struct snapshot *snapshot, struct stream *stream,
			 struct virt_user *ret_user, GError **error)
{
	const struct virt_config *config = host_config(snapshot->host);
	g_autofree char *id = g_uuid_string_random();
	g_autofree char *name = g_strdup_printf("novasnap-%.8s", id);

	if (find_user(snapshot, ret_user, error) < 0 ||
	    virt_user_check_shared(ret_user, config->run_dir, error) < 0)
		return -1;
	stream->folder = jobs_folder_name(config->run_dir);
	stream->socket = g_build_filename(stream->folder, SOCKET, NULL);
	stream->scratch = g_build_filename(config->scratch_dir, name, NULL);
	return 0;
}

int stream_make_folder(const char *folder, int *ret_lock, GError **error)
{
	if (jobs_make_folder(folder, ret_lock) == 0)
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
		    "making the folder %s in [novasnap]run_dir: %s", folder, g_strerror(errno));
	return -1;
}

/* Root gives the folder away. Anybody else opens it for the group that run_dir hands down, and the
 * socket that QEMU makes in it inherits that group. */
int stream_share_folder(const char *folder, const struct virt_user *user, GError **error)
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
