/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whose jobs run on a guest. One of ours that an earlier life left running is ended; anybody else's
 * is left alone, and named.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "virt/internal.h"

#define FOLDER "nbd-"
#define LINGER_S ((gint64)5)
#define END_TIMEOUT_S 30
#define END_LOOK_US (G_USEC_PER_SEC / 50)

/* 1, 0, or -1 with an error. That of a backup which is over shows for a moment more. */
static int has_block_job(virDomainPtr domain, const char *target, GError **error)
{
	gint64 until = g_get_monotonic_time() + LINGER_S * G_USEC_PER_SEC;
	virDomainBlockJobInfo info;
	int there;

	for (;;) {
		memset(&info, 0, sizeof(info));
		there = virDomainGetBlockJobInfo(domain, target, &info, 0);
		if (there < 0)
			virt_set_error(error, "asking for the disk's block job");
		if (there != 1 || info.type != VIR_DOMAIN_BLOCK_JOB_TYPE_BACKUP ||
		    g_get_monotonic_time() > until)
			return there;
		g_usleep(END_LOOK_US);
	}
}

/* Somebody else's job is left alone; one of ours that an earlier life left running is ended. */
static int clear_block_job(struct snapshot *snapshot, GError **error)
{
	const char *parent = host_config(snapshot->host)->snapshots_directory;
	g_autofree char *ours = g_build_filename(parent, STAGING, NULL);
	const char *target = snapshot->disk->target;
	int there = has_block_job(snapshot->domain, target, error);

	if (there != 1)
		return there;
	if (!snapshot->disk->mirror || !g_str_has_prefix(snapshot->disk->mirror, ours)) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_BUSY,
			    "the disk %s has a block job of somebody else's, into %s: it must end "
			    "before a snapshot can begin",
			    target, snapshot->disk->mirror ? snapshot->disk->mirror : "(unknown)");
		return -1;
	}
	g_message("guest %s: a block job that was left running into %s is ended", snapshot->uuid,
		  snapshot->disk->mirror);
	if (step_begin(snapshot, "clear", NULL, error) < 0)
		return -1;
	if (virDomainBlockJobAbort(snapshot->domain, target, 0) == 0)
		return step_end(snapshot, "clear", error);
	virt_set_error(error, "ending a block job that was left running");
	return -1;
}

/* Where it serves, or writes to, "" where that is not told; NULL: there is none, or (with an error)
 * it could not be asked. */
static char *backup_place(virDomainPtr domain, GError **error)
{
	char *xml = virDomainBackupGetXMLDesc(domain, 0);
	char *place;

	if (!xml) {
		int code = virGetLastErrorCode();

		if (code != VIR_ERR_NO_DOMAIN_BACKUP && code != VIR_ERR_NO_DOMAIN &&
		    code != VIR_ERR_OPERATION_INVALID && code != VIR_ERR_NO_SUPPORT)
			virt_set_error(error, "asking for the guest's backup job");
		return NULL;
	}
	place = domain_text(xml, "/domainbackup/server/@socket | /domainbackup/server/@name | "
				 "/domainbackup/disks/disk/target/@file");
	free(xml);
	return place ? place : g_strdup("");
}

int jobs_is_backup_at(virDomainPtr domain, const char *socket, GError **error)
{
	g_autoptr(GError) local = NULL;
	g_autofree char *place = backup_place(domain, &local);

	if (!local)
		return g_strcmp0(place, socket) == 0;
	g_propagate_error(error, g_steal_pointer(&local));
	return -1;
}

/* libvirt answers before the job is gone, and what comes next would meet its rest. */
int jobs_end_backup(virDomainPtr domain, const char *socket, GError **error)
{
	gint64 until = g_get_monotonic_time() + END_TIMEOUT_S * G_USEC_PER_SEC;
	int there = jobs_is_backup_at(domain, socket, error);

	if (there == 1 && virDomainAbortJob(domain) < 0) {
		g_autoptr(GError) refused = NULL;

		virt_set_error(&refused, "ending the export of the disk");
		there = jobs_is_backup_at(domain, socket, NULL);
		if (there != 0) {
			g_propagate_error(error, g_steal_pointer(&refused));
			return -1;
		}
	}
	while (there == 1) {
		if (g_get_monotonic_time() > until) {
			g_set_error(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT,
				    "ending the export of the disk: libvirt's job is still there "
				    "after %d s; virsh domjobabort ends it",
				    END_TIMEOUT_S);
			return -1;
		}
		g_usleep(END_LOOK_US);
		there = jobs_is_backup_at(domain, socket, error);
	}
	return there;
}

int jobs_resume_caught(virDomainPtr domain, GError **error)
{
	int state, reason;

	if (virDomainGetState(domain, &state, &reason, 0) < 0) {
		virt_set_error(error, "asking for the guest's state");
		return -1;
	}
	if (state != VIR_DOMAIN_PAUSED || reason != VIR_DOMAIN_PAUSED_IOERROR ||
	    virDomainResume(domain) == 0)
		return 0;
	virt_set_error(error, "resuming the guest, which an I/O error paused");
	return -1;
}

/* -1: it could not be locked, or is gone. */
static int lock_folder(const char *folder, int how)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0 && flock(fd, how) == 0)
		return fd;
	if (fd >= 0)
		(void)close(fd);
	return -1;
}

static int hold_folder(const char *folder)
{
	return lock_folder(folder, LOCK_EX | LOCK_NB);
}

char *jobs_folder_name(const char *run_dir)
{
	g_autofree char *id = g_uuid_string_random();

	return g_strdup_printf("%s/" FOLDER "%.8s", run_dir, id);
}

int jobs_make_folder(const char *folder, int *ret_lock)
{
	g_autofree char *run_dir = g_path_get_dirname(folder);
	/* Who removes what was left behind waits until it is held. */
	int lock = lock_folder(run_dir, LOCK_EX);
	int rc = g_mkdir(folder, 0700);

	*ret_lock = rc == 0 ? hold_folder(folder) : -1;
	if (lock >= 0)
		(void)close(lock);
	return rc;
}

/* Whether the process that began the job at this socket lives. */
static bool is_held(const char *socket)
{
	g_autofree char *folder = g_path_get_dirname(socket);
	int fd;

	if (!g_file_test(folder, G_FILE_TEST_IS_DIR))
		return false;
	fd = hold_folder(folder);
	if (fd < 0)
		return true;
	(void)close(fd);
	return false;
}

int jobs_remove_places(const char *socket, const char *scratch, GError **error)
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

static int clear_backup(struct snapshot *snapshot, GError **error)
{
	g_autofree char *ours =
		g_build_filename(host_config(snapshot->host)->run_dir, FOLDER, NULL);
	g_autoptr(GError) local = NULL;
	g_autofree char *place = backup_place(snapshot->domain, &local);

	if (local) {
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	if (!place)
		return 0;
	if (!g_str_has_prefix(place, ours) || is_held(place)) {
		g_set_error(
			error, VIRT_ERROR, VIRT_ERROR_BUSY,
			"the guest has a backup job of somebody else's, at %s: it must end before "
			"a snapshot can begin",
			*place ? place : "(unknown)");
		return -1;
	}
	g_message("guest %s: a backup job that was left running at %s is ended", snapshot->uuid,
		  place);
	if (step_begin(snapshot, "clear", NULL, error) < 0 ||
	    jobs_end_backup(snapshot->domain, place, error) < 0)
		return -1;
	return step_end(snapshot, "clear", error);
}

/* A backup shows as a block job too, without a name. */
int jobs_clear(struct snapshot *snapshot, GError **error)
{
	return clear_backup(snapshot, error) < 0 ? -1 : clear_block_job(snapshot, error);
}

/* Of one guest: ends what a life of ours that was killed left running, and a pause that it brought.
 */
static int sweep_guest(virDomainPtr domain, const char *ours)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *place = backup_place(domain, NULL);

	if (!place || !g_str_has_prefix(place, ours) || is_held(place))
		return 0;
	g_message("guest %s: a backup job that was left running at %s is ended",
		  virDomainGetName(domain), place);
	if (jobs_end_backup(domain, place, &error) == 0 && jobs_resume_caught(domain, &error) == 0)
		return 0;
	g_warning("guest %s: %s", virDomainGetName(domain), error->message);
	return -1;
}

/* Each job of ours has a folder until it is known to be gone. The sockets of those that nobody
 * holds; none can be made meanwhile. */
static GPtrArray *find_leftovers(const char *run_dir)
{
	GPtrArray *found = g_ptr_array_new_with_free_func(g_free);
	GDir *folder = g_dir_open(run_dir, 0, NULL);
	int lock = lock_folder(run_dir, LOCK_EX);
	const char *name;

	while (folder && (name = g_dir_read_name(folder))) {
		char *socket = g_build_filename(run_dir, name, SOCKET, NULL);

		if (g_str_has_prefix(name, FOLDER) && !is_held(socket))
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

static int sweep_guests(struct virt_host *host)
{
	g_autofree char *ours = g_build_filename(host_config(host)->run_dir, FOLDER, NULL);
	g_autoptr(GError) error = NULL;
	virConnectPtr connection = host_connect(host, &error);
	virDomainPtr *domains = NULL;
	int count = connection ? virConnectListAllDomains(connection, &domains,
							  VIR_CONNECT_LIST_DOMAINS_ACTIVE)
			       : -1;
	int rc = MIN(count, 0);

	if (count < 0)
		g_warning("what an earlier life left running is not looked for: %s",
			  error ? error->message : virGetLastErrorMessage());
	for (int i = 0; i < count; i++) {
		if (sweep_guest(domains[i], ours) < 0)
			rc = -1;
		(void)virDomainFree(domains[i]);
	}
	free(domains);
	if (connection)
		(void)virConnectClose(connection);
	return rc;
}

void virt_host_sweep(struct virt_host *host)
{
	g_autoptr(GPtrArray) sockets = find_leftovers(host_config(host)->run_dir);

	/* What is there still is looked for again at the next start. */
	if (sockets->len == 0 || sweep_guests(host) < 0)
		return;
	for (guint i = 0; i < sockets->len; i++) {
		g_autofree char *folder = g_path_get_dirname(sockets->pdata[i]);

		(void)g_unlink(sockets->pdata[i]);
		(void)g_rmdir(folder);
	}
}

char *jobs_backup_scratch_index(virDomainPtr domain)
{
	char *xml = virDomainBackupGetXMLDesc(domain, 0);
	char *index =
		xml ? domain_text(xml, "/domainbackup/disks/disk[@backup='yes']/@index") : NULL;

	free(xml);
	return index;
}
