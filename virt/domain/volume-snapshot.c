/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * External snapshots of a disk that Cinder keeps in a file
 * (nova.virt.libvirt.driver._volume_snapshot_create and _volume_snapshot_delete).
 */
#include <stdlib.h>

#include "virt/internal.h"

#define LOOK_US (G_USEC_PER_SEC / 5)

struct attached {
	virConnectPtr connection;
	virDomainPtr domain;
	char *xml;
	GPtrArray *disks;
	const struct domain_disk *disk; /* the volume's, in `disks` */
};

static void detach(struct attached *at)
{
	if (at->disks)
		g_ptr_array_unref(at->disks);
	free(at->xml);
	if (at->domain)
		(void)virDomainFree(at->domain);
	if (at->connection)
		(void)virConnectClose(at->connection);
}

static int attach(struct virt_host *host, const struct virt_volume *volume, struct attached *at,
		  GError **error)
{
	*at = (struct attached){0};
	at->connection = host_connect(host, error);
	if (at->connection)
		at->domain = host_find_domain(at->connection, volume->uuid, error);
	if (at->domain)
		at->xml = domain_xml(at->domain, error);
	if (!at->xml)
		return -1;
	at->disks = domain_disks(at->xml);
	for (guint i = 0; i < at->disks->len && !at->disk; i++) {
		const struct domain_disk *disk = at->disks->pdata[i];

		if (g_strcmp0(disk->serial, volume->volume_id) == 0)
			at->disk = disk;
	}
	if (at->disk && at->disk->file)
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
		    at->disk ? "volume %s is no disk in a file (network disks are not supported)"
			     : "no disk of the guest has the serial %s of the volume",
		    volume->volume_id);
	return -1;
}

/* 1: the disk has no block job; 0: it has one, which came so far, or which is ended; -1 with an
 * error. */
static int is_idle(struct virt_host *host, const struct virt_volume *volume, bool abort,
		   uint64_t *ret_cur, GError **error)
{
	virDomainBlockJobInfo info = {0};
	struct attached at;
	int there = attach(host, volume, &at, error);

	if (there == 0 && virDomainIsActive(at.domain) == 1) {
		there = virDomainGetBlockJobInfo(at.domain, at.disk->target, &info, 0);
		if (there < 0)
			virt_set_error(error, "asking for the disk's block job");
		if (there == 1 && abort)
			(void)virDomainBlockJobAbort(at.domain, at.disk->target, 0);
	}
	*ret_cur = info.cur;
	detach(&at);
	return there < 0 ? -1 : there == 0;
}

/* What libvirt was asked for goes on when who asked has died: until it is over. */
static int wait_idle(struct virt_host *host, const struct virt_volume *volume, GError **error)
{
	gint64 limit = (gint64)host_config(host)->job_timeout_s * G_USEC_PER_SEC;
	gint64 moved = g_get_monotonic_time();
	uint64_t before = 0, cur = 0;
	int idle = virt_guest_wait_idle(host, volume->uuid, error);

	while (idle == 0) {
		bool cancelled = volume->cancel && atomic_load(volume->cancel) != 0;

		idle = is_idle(host, volume, cancelled, &cur, error);
		if (idle != 0)
			break;
		if (cur != before)
			moved = g_get_monotonic_time();
		before = cur;
		if (cancelled || g_get_monotonic_time() - moved > limit) {
			g_set_error(error, VIRT_ERROR,
				    cancelled ? VIRT_ERROR_CANCELLED : VIRT_ERROR_BUSY,
				    "the disk of volume %s has another block job, which %s",
				    volume->volume_id,
				    cancelled ? "was cancelled" : "must end first");
			return -1;
		}
		g_usleep(LOOK_US);
	}
	return idle < 0 ? -1 : 0;
}

/* As the disk is once nothing is done to it any more, where a life before this one began. */
static int attach_again(struct virt_host *host, const struct virt_volume *volume,
			struct attached *at, GError **error)
{
	*at = (struct attached){0};
	if (volume->resuming && wait_idle(host, volume, error) < 0)
		return -1;
	return attach(host, volume, at, error);
}

/* A name that Cinder gives is of a file beside the volume's. */
static char *beside(const struct attached *at, const char *name)
{
	g_autofree char *folder = g_path_get_dirname(at->disk->file);

	return g_path_is_absolute(name) ? g_strdup(name) : g_build_filename(folder, name, NULL);
}

static char *snapshot_xml(const struct attached *at, const char *new_file)
{
	g_autofree char *path = beside(at, new_file);
	g_autoptr(GString) xml = g_string_new("<domainsnapshot><disks>");
	g_autofree char *chosen =
		g_markup_printf_escaped("<disk name='%s' snapshot='external' type='file'>"
					"<driver type='qcow2'/><source file='%s'/></disk>",
					at->disk->target, path);

	g_string_append(xml, chosen);
	for (guint i = 0; i < at->disks->len; i++) {
		const struct domain_disk *disk = at->disks->pdata[i];
		g_autofree char *other =
			g_markup_printf_escaped("<disk name='%s' snapshot='no'/>", disk->target);

		if (disk != at->disk)
			g_string_append(xml, other);
	}
	g_string_append(xml, "</disks></domainsnapshot>");
	return g_strdup(xml->str);
}

static int take(const struct attached *at, const char *xml, unsigned more, GError **error)
{
	virDomainSnapshotPtr taken = virDomainSnapshotCreateXML(
		at->domain, xml,
		VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA | VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY |
			VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT | more);

	if (!taken) {
		virt_set_error(error, "taking the volume's snapshot");
		return -1;
	}
	(void)virDomainSnapshotFree(taken);
	return 0;
}

/* Frozen where that is possible; libvirt itself thaws in every case. */
static int take_quiesced(const struct attached *at, const struct virt_volume *volume,
			 const char *xml, GError **error)
{
	g_autoptr(GError) local = NULL;

	if (volume->guest_agent && take(at, xml, VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE, &local) == 0)
		return 0;
	if (!volume->guest_agent)
		g_set_error_literal(&local, VIRT_ERROR, VIRT_ERROR_NO_AGENT,
				    "the image lacks the property hw_qemu_guest_agent");
	if (volume->require_quiesce) {
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	if (volume->guest_agent)
		g_message("guest %s: its filesystems are not frozen for the snapshot of volume %s: "
			  "%s",
			  volume->uuid, volume->volume_id, local->message);
	return take(at, xml, 0, error);
}

int virt_volume_snapshot_create(struct virt_host *host, const struct virt_volume *volume,
				const char *new_file, GError **error)
{
	struct attached at;
	g_autofree char *xml = NULL;
	g_autofree char *path = NULL;
	int rc = attach_again(host, volume, &at, error);

	if (rc == 0)
		path = beside(&at, new_file);
	if (rc == 0 && volume->resuming && g_str_equal(at.disk->file, path)) {
		g_message("guest %s: volume %s writes to %s already", volume->uuid,
			  volume->volume_id, path);
	} else if (rc == 0) {
		(void)virDomainAgentSetResponseTimeout(at.domain,
						       (int)host_config(host)->agent_timeout_s, 0);
		xml = snapshot_xml(&at, new_file);
		rc = take_quiesced(&at, volume, xml, error);
	}
	detach(&at);
	return rc;
}

struct job {
	const struct attached *at;
	const char *base;
	const char *top;
};

/* First keeping the names in the files relative to each other, as Cinder wants them; where they are
 * absolute already, libvirt refuses that. */
static int start(const struct job *job, bool commit)
{
	const char *target = job->at->disk->target;
	unsigned relative =
		commit ? VIR_DOMAIN_BLOCK_COMMIT_RELATIVE : VIR_DOMAIN_BLOCK_REBASE_RELATIVE;

	for (;;) {
		int rc = commit ? virDomainBlockCommit(job->at->domain, target, job->base, job->top,
						       0, relative)
				: virDomainBlockRebase(job->at->domain, target, job->base, 0,
						       job->base ? relative : 0);

		if (rc == 0 || relative == 0 || (!commit && !job->base))
			return rc;
		g_info("disk %s: %s; tried with whole paths", target, virGetLastErrorMessage());
		relative = 0;
	}
}

static uint64_t progress(void *opaque)
{
	const struct attached *at = opaque;
	virDomainBlockJobInfo info = {0};

	return virDomainGetBlockJobInfo(at->domain, at->disk->target, &info, 0) == 1 ? info.cur : 0;
}

static int merge_running(struct virt_host *host, const struct virt_volume *volume,
			 struct attached *at, const struct job *job, bool commit, GError **error)
{
	struct watch *watch = watch_start(
		at->connection, at->domain, at->disk->target,
		commit ? VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT : VIR_DOMAIN_BLOCK_JOB_TYPE_PULL, error);
	enum watch_end end = WATCH_FAILED;
	int rc = -1;

	if (!watch)
		return -1;
	if (start(job, commit) < 0) {
		virt_set_error(error, "merging the volume's snapshot");
	} else {
		end = watch_wait(watch, true, host_config(host)->job_timeout_s, volume->cancel,
				 progress, at);
		rc = end == WATCH_ENDED ? 0 : -1;
		if (rc < 0) {
			(void)virDomainBlockJobAbort(at->domain, at->disk->target, 0);
			g_set_error(error, VIRT_ERROR,
				    end == WATCH_CANCELLED ? VIRT_ERROR_CANCELLED : VIRT_ERROR_JOB,
				    "merging the volume's snapshot: the block job of disk %s %s",
				    at->disk->target,
				    end == WATCH_CANCELLED ? "was cancelled"
							   : "failed or stood still");
		}
	}
	watch_stop(watch);
	return rc;
}

/* Of a guest that does not run: qemu-img does it, as nova has it done. */
static int merge_stopped(const struct virt_volume *volume, const struct attached *at,
			 const char *base, GError **error)
{
	struct disk *disk = disk_find_root(at->xml, at->disk->target, error);
	const struct disk_layer *layer = NULL;
	int rc = disk ? disk_complete_chain(disk, NULL, volume->cancel, error) : -1;

	for (guint i = 1; rc == 0 && base && i < disk->layers->len && !layer; i++) {
		const struct disk_layer *candidate = g_ptr_array_index(disk->layers, i);

		if (g_str_equal(candidate->path, base))
			layer = candidate;
	}
	if (rc == 0 && base && !layer) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
			    "%s is not in the chain of the volume's file %s", base, at->disk->file);
		rc = -1;
	}
	if (rc == 0)
		rc = qemu_img_rebase(at->disk->file, layer, volume->cancel, error);
	disk_free(disk);
	return rc;
}

/* Whether what is to be merged is not in the chain any more. A file of that name in any folder
 * counts as being there. */
static bool is_merged(const struct attached *at, const struct job *job, bool commit)
{
	struct disk *disk = disk_find_root(at->xml, at->disk->target, NULL);
	g_autofree char *top = commit ? g_path_get_basename(job->top) : NULL;
	bool has_top = false, is_base = false;

	for (guint i = 0; disk && i < disk->layers->len; i++) {
		const struct disk_layer *layer = g_ptr_array_index(disk->layers, i);

		has_top = has_top || (top && g_str_has_suffix(layer->path, top));
		is_base = is_base || (i == 1 && g_strcmp0(layer->path, job->base) == 0);
	}
	if (disk && !job->base)
		is_base = disk->layers->len == 1;
	commit = disk && (commit ? !has_top : is_base);
	disk_free(disk);
	return commit;
}

int virt_volume_snapshot_delete(struct virt_host *host, const struct virt_volume *volume,
				const char *file, const char *target_file, GError **error)
{
	struct attached at;
	g_autofree char *base = NULL;
	g_autofree char *top = NULL;
	struct job job = {.at = &at};
	bool commit = target_file != NULL;
	int rc = attach_again(host, volume, &at, error);

	if (rc < 0)
		goto out;
	if (commit && !file) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
				    "a merge_target_file without a file_to_merge makes no sense");
		rc = -1;
		goto out;
	}
	base = commit ? beside(&at, target_file) : file ? beside(&at, file) : NULL;
	top = commit ? beside(&at, file) : NULL;
	job.base = base;
	job.top = top;
	if (volume->resuming && virDomainIsActive(at.domain) == 1 && is_merged(&at, &job, commit)) {
		g_message("guest %s: volume %s: the snapshot is merged already", volume->uuid,
			  volume->volume_id);
	} else if (virDomainIsActive(at.domain) == 1) {
		rc = merge_running(host, volume, &at, &job, commit, error);
	} else if (commit) {
		g_set_error_literal(
			error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
			"the guest does not run: libvirt cannot merge into a file below "
			"the one that is written to");
		rc = -1;
	} else {
		rc = merge_stopped(volume, &at, base, error);
	}
out:
	detach(&at);
	return rc;
}
