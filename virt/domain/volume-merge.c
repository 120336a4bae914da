/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Merges a snapshot of a disk that Cinder stores in a file into the disk
 * (nova.virt.libvirt.driver._volume_snapshot_delete). For a running guest, libvirt does it:
 * "commit" merges a file into one below it, "pull" merges files into the active one.
 */
#include <string.h>

#include "virt/domain/disk-chain.h"
#include "virt/domain/events.h"
#include "virt/domain/guest-query.h"
#include "virt/domain/volume-disk.h"
#include "virt/qemu-img.h"

/* How long libvirt is asked for the result of a merge without an answer. */
#define ASK_TIMEOUT_S ((gint64)600)
#define ASK_PAUSE_US (2 * G_USEC_PER_SEC)

struct merge {
	struct volume_disk *disk;
	const struct virt_volume *volume;
	bool commit;
	const char *base_name; /* as Cinder wrote it: a name in the volume's folder, or a path */
	char *base; /* its path, the new backing file; NULL: none, the whole chain is pulled */
	char *top;  /* of a commit: the file that is merged into `base` */
};

/* Tries with relative file names first, as Cinder expects. libvirt rejects that if the names are
 * already absolute. */
static int start_block_job(const struct merge *merge)
{
	virDomainPtr domain = merge->disk->guest.domain;
	const char *target = merge->disk->disk->target;
	unsigned relative =
		merge->commit ? VIR_DOMAIN_BLOCK_COMMIT_RELATIVE : VIR_DOMAIN_BLOCK_REBASE_RELATIVE;

	if (!merge->base)
		relative = 0;
	for (;;) {
		int rc = merge->commit
				 ? virDomainBlockCommit(domain, target, merge->base, merge->top, 0,
							relative)
				 : virDomainBlockRebase(domain, target, merge->base, 0, relative);

		if (rc == 0 || relative == 0)
			return rc;
		g_info("guest %s: disk %s: %s; retrying with absolute paths", merge->volume->uuid,
		       target, virGetLastErrorMessage());
		relative = 0;
	}
}

static uint64_t read_merge_progress(void *opaque)
{
	struct merge *merge = opaque;
	virDomainBlockJobInfo info;

	return guest_has_block_job(&merge->disk->guest, merge->disk->disk->target, &info, NULL) ==
			       GUEST_YES
		       ? info.cur
		       : 0;
}

static int set_merge_error(const struct merge *merge, enum block_job_outcome outcome,
			   GError **error)
{
	static const struct {
		int code;
		const char *what;
	} failures[] = {
		[BLOCK_JOB_READY] = {VIRT_ERROR_JOB, "failed"},
		[BLOCK_JOB_ENDED] = {VIRT_ERROR_JOB, "failed"},
		[BLOCK_JOB_FAILED] = {VIRT_ERROR_JOB, "failed"},
		[BLOCK_JOB_ABORTED] = {VIRT_ERROR_JOB,
				       "was cancelled by another program before its end"},
		[BLOCK_JOB_GUEST_STOPPED] = {VIRT_ERROR_JOB, "ended, because the guest stopped"},
		[BLOCK_JOB_DISCONNECTED] =
			{VIRT_ERROR_DISCONNECTED,
			 "has an unknown result, because the connection to libvirt broke"},
		[BLOCK_JOB_CANCELLED] = {VIRT_ERROR_CANCELLED, "was cancelled"},
		[BLOCK_JOB_TIMEOUT] = {VIRT_ERROR_JOB, "made no progress, and was ended"},
	};

	g_set_error(error, VIRT_ERROR, failures[outcome].code,
		    "merging the volume's snapshot: the block job of disk %s %s",
		    merge->disk->disk->target, failures[outcome].what);
	return -1;
}

/* Whether the chain is already as it will be after the merge. A commit is complete when no file in
 * the chain has the name of its top, in any folder. */
static bool is_merged(const struct merge *merge)
{
	struct disk *disk = disk_find_by_target(merge->disk->xml, merge->disk->disk->target, NULL);
	g_autofree char *top = merge->commit ? g_path_get_basename(merge->top) : NULL;
	bool has_top = false, base_is_next = false, merged = false;

	for (guint i = 0; disk && i < disk->layers->len; i++) {
		const struct disk_layer *layer = g_ptr_array_index(disk->layers, i);

		has_top = has_top || (top && g_str_has_suffix(layer->path, top));
		base_is_next = base_is_next || (i == 1 && g_strcmp0(layer->path, merge->base) == 0);
	}
	if (disk && merge->commit)
		merged = !has_top;
	else if (disk)
		merged = merge->base ? base_is_next : disk->layers->len == 1;
	disk_free(disk);
	return merged;
}

static bool is_unanswered(const GError *error)
{
	return g_error_matches(error, VIRT_ERROR, VIRT_ERROR_DISCONNECTED) ||
	       g_error_matches(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT);
}

/* libvirt did not answer the request, or the connection broke during the job: it may still be
 * running. Waits for its end; the chain then shows whether it succeeded. Takes ownership of `why`.
 * libvirtd may be restarting: it is asked again. */
static int ask_whether_merged(struct merge *merge, GError *why, GError **error)
{
	gint64 until = g_get_monotonic_time() + ASK_TIMEOUT_S * G_USEC_PER_SEC;
	g_autoptr(GError) local = NULL;
	bool merged;

	while (volume_disk_settle(merge->disk, merge->volume, &local) < 0) {
		if (!is_unanswered(local) || g_get_monotonic_time() > until ||
		    (merge->volume->cancel && atomic_load(merge->volume->cancel) != 0)) {
			if (g_error_matches(local, VIRT_ERROR, VIRT_ERROR_BUSY))
				(void)virDomainBlockJobAbort(merge->disk->guest.domain,
							     merge->disk->disk->target, 0);
			g_propagate_error(error, why);
			g_prefix_error(error, "%s; ", local->message);
			return -1;
		}
		g_clear_error(&local);
		g_usleep(ASK_PAUSE_US);
	}
	/* The definition of a guest that is off does not list the chain. */
	merged = guest_is_active(&merge->disk->guest, NULL) == GUEST_YES && is_merged(merge);
	if (merged) {
		g_message("guest %s: volume %s: %s; but the snapshot was merged",
			  merge->volume->uuid, merge->volume->volume_id, why->message);
		g_error_free(why);
	} else {
		g_propagate_error(error, why);
	}
	return merged ? 0 : -1;
}

static int run_block_job(struct merge *merge, struct domain_events *events, GError **error)
{
	struct guest *guest = &merge->disk->guest;
	enum block_job_outcome outcome;
	GError *why = NULL;

	if (start_block_job(merge) < 0) {
		virt_set_error(&why, "merging the volume's snapshot");
		if (is_unanswered(why))
			return ask_whether_merged(merge, why, error);
		g_propagate_error(error, why);
		return -1;
	}
	outcome = domain_events_wait_block_job(events, true, guest->host->config->job_timeout_s,
					       merge->volume->cancel, read_merge_progress, merge);
	if (outcome == BLOCK_JOB_ENDED)
		return 0;
	if (outcome == BLOCK_JOB_DISCONNECTED) {
		(void)set_merge_error(merge, outcome, &why);
		return ask_whether_merged(merge, why, error);
	}
	if (guest_connect(guest, NULL) == 0)
		(void)virDomainBlockJobAbort(guest->domain, merge->disk->disk->target, 0);
	return set_merge_error(merge, outcome, error);
}

static int merge_running(struct merge *merge, GError **error)
{
	int type =
		merge->commit ? VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT : VIR_DOMAIN_BLOCK_JOB_TYPE_PULL;
	struct domain_events *events =
		domain_events_start(&merge->disk->guest, merge->disk->disk->target, type, error);
	int rc = events ? run_block_job(merge, events, error) : -1;

	domain_events_stop(events);
	return rc;
}

/* qemu-img opens the files by their headers, and would detect a format that no header names in a
 * way of its own. */
static int check_formats(const struct disk *disk, GError **error)
{
	for (guint i = 0; i < disk->layers->len; i++) {
		const struct disk_layer *layer = g_ptr_array_index(disk->layers, i);
		g_autofree char *why = NULL;

		if (!layer->assumed)
			continue;
		why = g_strdup_printf("has the backing file %s, whose format no header names: name "
				      "it with qemu-img rebase -u -F FORMAT -b FILE",
				      layer->path);
		return disk_refuse(disk, why, error);
	}
	return 0;
}

/* Uses qemu-img, as nova does for a guest that is not running. The new backing file gets the name
 * that Cinder wrote: Cinder may mount the volume elsewhere (nova's bug LP 2119353). qemu-img takes
 * a name without a path as one beside the file. */
static int merge_stopped(const struct merge *merge, GError **error)
{
	const char *file = merge->disk->disk->file;
	struct disk *disk = disk_find_by_target(merge->disk->xml, merge->disk->disk->target, error);
	const struct disk_layer *base = NULL;
	int rc = disk ? disk_complete_chain(disk, NULL, merge->volume->cancel, error) : -1;

	if (rc == 0)
		rc = check_formats(disk, error);
	for (guint i = 1; rc == 0 && merge->base && i < disk->layers->len && !base; i++) {
		const struct disk_layer *layer = g_ptr_array_index(disk->layers, i);

		if (g_str_equal(layer->path, merge->base))
			base = layer;
	}
	if (rc == 0 && merge->base && !base) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
			    "%s is not in the chain of the volume's file %s", merge->base, file);
		rc = -1;
	}
	if (rc == 0)
		rc = qemu_img_rebase(file, base ? merge->base_name : NULL,
				     base ? base->format : NULL, merge->volume->cancel, error);
	disk_free(disk);
	return rc;
}

static int merge_now(struct merge *merge, GError **error)
{
	enum guest_answer active = guest_is_active(&merge->disk->guest, error);

	if (active == GUEST_UNKNOWN)
		return -1;
	if (active == GUEST_YES && merge->volume->resuming && is_merged(merge)) {
		g_message("guest %s: volume %s: the snapshot has already been merged",
			  merge->volume->uuid, merge->volume->volume_id);
		return 0;
	}
	if (active == GUEST_YES)
		return merge_running(merge, error);
	if (!merge->commit)
		return merge_stopped(merge, error);
	g_set_error_literal(
		error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
		"the guest is not running: libvirt cannot merge into a file below the active one");
	return -1;
}

int virt_volume_snapshot_delete(struct virt_host *host, const struct virt_volume *volume,
				const char *file, const char *target_file, GError **error)
{
	struct volume_disk disk;
	struct merge merge = {.disk = &disk, .volume = volume, .commit = target_file != NULL};
	const char *base = merge.commit ? target_file : file;
	int rc = volume_disk_open(&disk, host, volume, error);

	if (rc == 0 && merge.commit && !file) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
				    "the request has a merge_target_file, but no file_to_merge");
		rc = -1;
	}
	if (rc == 0) {
		merge.base_name = base;
		merge.base = base ? volume_disk_path(&disk, base) : NULL;
		merge.top = merge.commit ? volume_disk_path(&disk, file) : NULL;
		rc = merge_now(&merge, error);
	}
	g_free(merge.base);
	g_free(merge.top);
	volume_disk_close(&disk);
	return rc;
}
