/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The method stream for a running or paused guest: its disk is read over NBD during the upload,
 * without a local copy. libvirt's pull-mode backup job (virDomainBackupBegin) exports the disk as
 * it was when the job began.
 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virt/domain/guest-query.h"
#include "virt/domain/io-error.h"
#include "virt/domain/iothread.h"
#include "virt/export-folder.h"
#include "virt/libvirt/qemu-user.h"
#include "virt/method/left-jobs.h"
#include "virt/method/quiesce.h"
#include "virt/method/room.h"
#include "virt/method/scratch-guard.h"
#include "virt/method/watched-disk.h"
#include "virt/steps.h"

/* What this process holds while the backup job is running. */
struct live_stream {
	char *socket;
	struct scratch_claim *claim; /* room for the scratch file; NULL: none */
	char *scratch;		     /* the scratch file */
	int lock;		     /* descriptor that locks the socket's folder; -1: not locked */
	bool may_resume;	     /* an I/O error had not paused the guest before */
	struct scratch_guard *guard;
};

static int stream_live_verify(struct snapshot *snapshot, GError **error)
{
	if (scratch_guard_check(snapshot->live_stream->guard, error) < 0)
		return -1;
	if (domain_events_guest_undefined(snapshot->events)) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN,
				    "the guest was deleted while its disk was read");
		return -1;
	}
	if (domain_events_guest_stopped(snapshot->events)) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_INSTANT_LOST,
				    "the guest stopped, which ended the export of its disk");
		return -1;
	}
	return 0;
}

/* The user that libvirt reports, else the owner of the disk's file, which is QEMU's user while the
 * guest runs. The owner of a block device is not: libvirt gives QEMU a node of its own. */
static int find_qemu_user(struct snapshot *snapshot, const char *domain_xml,
			  struct virt_user *ret_user, GError **error)
{
	g_autoptr(GError) local = NULL;
	struct stat disk;

	if (qemu_user_find(snapshot->guest.connection, domain_xml, ret_user, &local) == 0)
		return 0;
	if (stat(disk_top(snapshot->disk)->path, &disk) == 0 && S_ISREG(disk.st_mode)) {
		*ret_user = (struct virt_user){disk.st_uid, disk.st_gid};
		return 0;
	}
	g_propagate_error(error, g_steal_pointer(&local));
	return -1;
}

/* Creates the folder of the socket, as part of the step "backup", which ends with the job. */
static enum snapshot_open_result make_export_folder(struct snapshot *snapshot,
						    const struct virt_user *user, GError **error)
{
	struct live_stream *stream = snapshot->live_stream;
	g_autofree char *folder = export_folder_name(snapshot->config->run_dir);
	cJSON *undo = cJSON_CreateObject();

	stream->socket = g_build_filename(folder, EXPORT_SOCKET, NULL);
	cJSON_AddStringToObject(undo, "target", snapshot->disk->target);
	cJSON_AddStringToObject(undo, "socket", stream->socket);
	cJSON_AddStringToObject(undo, "scratch", stream->scratch);
	cJSON_AddBoolToObject(undo, "resume", stream->may_resume);
	if (step_begin(snapshot, "backup", undo, error) < 0)
		return SNAPSHOT_FAILED;
	if (export_folder_make(folder, &stream->lock, error) < 0 ||
	    export_folder_share(folder, user, error) < 0)
		return SNAPSHOT_NOT_POSSIBLE;
	return SNAPSHOT_OPENED;
}

static char *backup_xml(const struct snapshot *snapshot, const char *domain_xml)
{
	const struct live_stream *stream = snapshot->live_stream;
	const char *target = snapshot->disk->target;
	g_autoptr(GString) xml = g_string_new("<domainbackup mode='pull'>");
	g_autofree char *server = g_markup_printf_escaped(
		"<server transport='unix' socket='%s'/><disks>", stream->socket);
	g_autofree char *chosen =
		g_markup_printf_escaped("<disk name='%s' backup='yes' type='file' exportname='%s'>"
					"<driver type='qcow2'/><scratch file='%s'/></disk>",
					target, target, stream->scratch);
	g_autoptr(GPtrArray) disks = domain_disks(domain_xml);

	g_string_append_printf(xml, "%s%s", server, chosen);
	for (guint i = 0; i < disks->len; i++) {
		const struct domain_disk *disk = disks->pdata[i];
		g_autofree char *excluded =
			g_markup_printf_escaped("<disk name='%s' backup='no'/>", disk->target);

		if (!g_str_equal(disk->target, target))
			g_string_append(xml, excluded);
	}
	g_string_append(xml, "</disks></domainbackup>");
	return g_strdup(xml->str);
}

/* libvirt has answered that there is no job: its files remain to be removed, without waiting for a
 * job that may still appear. */
static int forget_backup(struct snapshot *snapshot, GError **error)
{
	const struct live_stream *stream = snapshot->live_stream;
	cJSON *undo = cJSON_CreateObject();

	cJSON_AddStringToObject(undo, "socket", stream->socket);
	cJSON_AddStringToObject(undo, "scratch", stream->scratch);
	if (step_begin(snapshot, "serve", undo, error) < 0)
		return -1;
	step_clear(snapshot, "backup");
	return step_end(snapshot, "serve", error);
}

/* Starts the backup job, with the guest's filesystems frozen if the image's properties ask for
 * it. */
static enum snapshot_open_result begin_backup(struct snapshot *snapshot, const char *domain_xml,
					      GError **error)
{
	g_autofree char *xml = backup_xml(snapshot, domain_xml);
	g_autoptr(GError) refused = NULL;
	bool is_refused;

	if (quiesce_begin(snapshot, error) < 0)
		return SNAPSHOT_FAILED;
	if (virDomainBackupBegin(snapshot->guest.domain, xml, NULL, 0) < 0) {
		virt_set_error(&refused, "starting the disk's export");
		is_refused = g_error_matches(refused, VIRT_ERROR, VIRT_ERROR_FAILED);
		/* Without an answer the job may run. */
		if (is_refused && forget_backup(snapshot, error) < 0)
			return SNAPSHOT_FAILED;
		g_propagate_error(error, g_steal_pointer(&refused));
		return is_refused ? SNAPSHOT_NOT_POSSIBLE : SNAPSHOT_FAILED;
	}
	if (step_end(snapshot, "backup", error) < 0 || quiesce_end(snapshot, error) < 0)
		return SNAPSHOT_FAILED;
	return SNAPSHOT_OPENED;
}

/* Whether the files that libvirt and QEMU have created are those that this process sees. libvirtd
 * may have a mount namespace of its own, as in a container. Then neither the room for the scratch
 * file can be watched, nor can the file be removed. */
static int check_files(const struct snapshot *snapshot, GError **error)
{
	const struct live_stream *stream = snapshot->live_stream;
	const char *const paths[] = {stream->scratch, stream->socket};

	for (size_t i = 0; i < G_N_ELEMENTS(paths); i++) {
		struct stat st;

		if (lstat(paths[i], &st) == 0)
			continue;
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_CONFIG,
			    "cannot find %s, which libvirt has created: %s; if libvirtd runs in a "
			    "container, share this folder with it",
			    paths[i], g_strerror(errno));
		return -1;
	}
	return 0;
}

/* Why the export could not be opened. An export that is gone because the guest stopped is another
 * matter than one that cannot be reached. */
static enum snapshot_open_result explain_not_opened(struct snapshot *snapshot, GError *why,
						    GError **error)
{
	enum guest_answer active;

	if (g_error_matches(why, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_CANCELLED)) {
		g_propagate_error(error, why);
		return SNAPSHOT_FAILED;
	}
	active = stream_live_verify(snapshot, error) < 0 ? GUEST_UNKNOWN
							 : guest_is_active(&snapshot->guest, error);
	if (active == GUEST_YES) {
		g_propagate_error(error, why);
		return SNAPSHOT_NOT_POSSIBLE;
	}
	if (active == GUEST_NO)
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_INSTANT_LOST,
				    "the guest stopped, which ended the export of its disk");
	g_error_free(why);
	return SNAPSHOT_FAILED;
}

static void start_guard(struct snapshot *snapshot, GError **error)
{
	struct live_stream *stream = snapshot->live_stream;
	const struct guarded_job job = {stream->socket, stream->scratch, stream->may_resume};

	stream->guard = scratch_guard_start(snapshot, &job, error);
}

static enum snapshot_open_result open_export(struct snapshot *snapshot,
					     struct image_source **ret_disk, GError **error)
{
	const struct image_nbd nbd = {
		.socket = snapshot->live_stream->socket,
		.export_name = snapshot->disk->target,
		.timeout_s = snapshot->config->nbd_timeout_s,
		.cancel = snapshot->cancel,
	};
	struct image_source *disk = NULL;
	GError *why = NULL;

	if (check_files(snapshot, &why) == 0)
		start_guard(snapshot, &why);
	if (snapshot->live_stream->guard)
		disk = image_source_new_nbd(&nbd, &why);
	if (!disk)
		return explain_not_opened(snapshot, why, error);
	*ret_disk = watched_disk_new(snapshot, disk);
	return SNAPSHOT_OPENED;
}

static enum snapshot_open_result claim_room(struct snapshot *snapshot, uint64_t size,
					    GError **error)
{
	struct live_stream *stream = snapshot->live_stream;
	g_autoptr(GError) why = NULL;
	bool is_short;

	stream->scratch =
		g_strdup_printf("%s/novasnap-%s", snapshot->config->scratch_dir, snapshot->id);
	stream->claim = scratch_claim_new(snapshot->guest.host, stream->scratch,
					  room_allocated(snapshot->disk, size), &why);
	if (stream->claim)
		return SNAPSHOT_OPENED;
	is_short = g_error_matches(why, VIRT_ERROR, VIRT_ERROR_PROCESS);
	g_propagate_error(error, g_steal_pointer(&why));
	return is_short ? SNAPSHOT_NO_ROOM : SNAPSHOT_NOT_POSSIBLE;
}

/* Checks that the export is possible, and claims its room. Changes nothing outside. */
static enum snapshot_open_result check_export(struct snapshot *snapshot, const char *domain_xml,
					      struct virt_user *ret_user, GError **error)
{
	uint64_t size;

	if (iothread_check_export(&snapshot->guest, domain_xml, snapshot->disk->target, true,
				  error) < 0)
		return SNAPSHOT_NOT_POSSIBLE;
	if (guest_disk_size(&snapshot->guest, snapshot->disk->target, &size, error) < 0)
		return SNAPSHOT_FAILED;
	/* No encoder takes more. */
	if (size > IMAGE_QCOW2_MAX) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
				    "the disk is larger than 8 TiB");
		return SNAPSHOT_NOT_POSSIBLE;
	}
	if (find_qemu_user(snapshot, domain_xml, ret_user, error) < 0 ||
	    virt_user_check_shared(ret_user, snapshot->config->run_dir, error) < 0)
		return SNAPSHOT_NOT_POSSIBLE;
	return claim_room(snapshot, size, error);
}

static enum snapshot_open_result export_disk(struct snapshot *snapshot, const char *domain_xml,
					     struct image_source **ret_disk, GError **error)
{
	struct virt_user user;
	enum snapshot_open_result result = check_export(snapshot, domain_xml, &user, error);
	enum guest_answer paused = GUEST_NO;

	if (result == SNAPSHOT_OPENED)
		paused = io_error_has_paused(&snapshot->guest, error);
	if (paused == GUEST_UNKNOWN)
		result = SNAPSHOT_FAILED;
	snapshot->live_stream->may_resume = paused == GUEST_NO;
	if (result == SNAPSHOT_OPENED)
		result = make_export_folder(snapshot, &user, error);
	if (result == SNAPSHOT_OPENED)
		result = begin_backup(snapshot, domain_xml, error);
	return result == SNAPSHOT_OPENED ? open_export(snapshot, ret_disk, error) : result;
}

static enum snapshot_open_result stream_live_open(struct snapshot *snapshot,
						  struct image_source **ret_disk, GError **error)
{
	enum snapshot_open_result result;
	char *domain_xml;

	snapshot->live_stream = g_new0(struct live_stream, 1);
	snapshot->live_stream->lock = -1;
	if (left_jobs_end(snapshot, error) < 0)
		return SNAPSHOT_FAILED;
	domain_xml = guest_xml(&snapshot->guest, 0, error);
	if (!domain_xml)
		return SNAPSHOT_FAILED;
	result = export_disk(snapshot, domain_xml, ret_disk, error);
	free(domain_xml);
	return result;
}

/* A QEMU may be harmed by a client that disconnects from an export. After the job it has none. */
static void stream_live_end_export(struct snapshot *snapshot)
{
	g_autoptr(GError) error = NULL;

	if (step_close(snapshot, "backup", &error) < 0)
		g_warning("guest %s: %s", snapshot->guest.uuid, error->message);
}

static void stream_live_release(struct snapshot *snapshot)
{
	struct live_stream *stream = snapshot->live_stream;

	if (!stream)
		return;
	scratch_guard_stop(stream->guard);
	scratch_claim_free(stream->claim);
	if (stream->lock >= 0)
		(void)close(stream->lock);
	g_free(stream->socket);
	g_free(stream->scratch);
	g_clear_pointer(&snapshot->live_stream, g_free);
}

const struct snapshot_method method_stream_live = {
	.name = "stream",
	.live = true,
	.open = stream_live_open,
	.end_export = stream_live_end_export,
	.fallback = &method_rebase,
	.verify = stream_live_verify,
	.verify_end = stream_live_verify,
	.release = stream_live_release,
};
