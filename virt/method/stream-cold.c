/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The method stream for a guest that is shut down: its disk is read over NBD during the upload,
 * without a local copy. qemu-nbd exports the disk read-only. If the guest is started meanwhile, a
 * new snapshot is taken. The disk itself must also show at the end that nobody wrote to it: libvirt
 * knows nothing of a guest that was evacuated and writes to the same file from another host, nova
 * overwrites a logical volume with zeros before it removes volume and guest, and if libvirtd is
 * restarted, its events are missing.
 */
#include <cjson/cJSON.h>
#include <unistd.h>

#include "virt/domain/disk-chain.h"
#include "virt/domain/disk-filename.h"
#include "virt/domain/disk-stamp.h"
#include "virt/domain/guest-query.h"
#include "virt/export-folder.h"
#include "virt/method/disk-watch.h"
#include "virt/method/managed-save.h"
#include "virt/method/watched-disk.h"
#include "virt/steps.h"

static int refuse_started(GError **error)
{
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_INSTANT_LOST,
			    "the guest was started while its disk was read: the data does not "
			    "belong to a single point in time");
	return -1;
}

static int refuse_unknown(GError **error)
{
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_INSTANT_LOST,
			    "the connection to libvirt broke while the disk was read: it is "
			    "unknown whether the guest was started");
	return -1;
}

static int stream_cold_verify(struct snapshot *snapshot, GError **error)
{
	g_autoptr(GError) written = NULL;

	if (domain_events_guest_undefined(snapshot->events)) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN,
				    "the guest was deleted while its disk was read");
		return -1;
	}
	if (domain_events_guest_started(snapshot->events))
		return refuse_started(error);
	if (disk_watch_check(snapshot->disk_watch, &written) < 0) {
		if (domain_events_are_lost(snapshot->events))
			return refuse_unknown(error);
		g_propagate_error(error, g_steal_pointer(&written));
		return -1;
	}
	/* Without events, only the disk shows at the end whether the guest was started. */
	if (domain_events_are_lost(snapshot->events) && !snapshot->disk_stamp)
		return refuse_unknown(error);
	return 0;
}

static bool is_unanswered(const GError *error)
{
	return g_error_matches(error, VIRT_ERROR, VIRT_ERROR_DISCONNECTED) ||
	       g_error_matches(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT);
}

/* A guest that was started has written to its disk, or the data is the same nevertheless. */
static int verify_stamp(struct snapshot *snapshot, GError **error)
{
	return disk_stamp_check(snapshot->disk, snapshot->disk_stamp, NULL) == 0
		       ? 0
		       : refuse_unknown(error);
}

/* A guest that is running now may have written before libvirt's event arrived. */
static int stream_cold_verify_end(struct snapshot *snapshot, GError **error)
{
	g_autoptr(GError) local = NULL;
	int state;

	if (stream_cold_verify(snapshot, error) < 0)
		return -1;
	state = guest_state(&snapshot->guest, NULL, &local);
	if (state >= 0 && (guest_state_is_active(state) || state == VIR_DOMAIN_SHUTDOWN))
		return refuse_started(error);
	if (state < 0 && !is_unanswered(local)) {
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	if (state < 0 || domain_events_are_lost(snapshot->events))
		return verify_stamp(snapshot, error);
	/* A device without a stamp is not opened. Of a file, libvirt's events are then all that is
	 * known. */
	return snapshot->disk_stamp || disk_is_device(snapshot->disk)
		       ? disk_stamp_check(snapshot->disk, snapshot->disk_stamp, error)
		       : 0;
}

static struct image_source *start_qemu_nbd(struct snapshot *snapshot, const char *socket,
					   bool direct, GError **error)
{
	g_autofree char *chain = disk_json_filename_shared(snapshot->disk, direct);
	const char *argv[] = {"qemu-nbd", "--read-only", "--discard=ignore", chain, NULL};
	const struct image_nbd nbd = {
		.socket = socket,
		.argv = argv,
		.export_name = "",
		.timeout_s = snapshot->config->nbd_timeout_s,
		.cancel = snapshot->cancel,
	};

	return image_source_new_nbd(&nbd, error);
}

/* The socket has its own folder, which is removed once qemu-nbd is connected. */
static struct image_source *serve_disk(struct snapshot *snapshot, bool direct, GError **error)
{
	g_autofree char *folder = export_folder_name(snapshot->config->run_dir);
	g_autofree char *socket = g_build_filename(folder, EXPORT_SOCKET, NULL);
	g_autoptr(image_source_t) disk = NULL;
	cJSON *undo = cJSON_CreateObject();
	int lock;

	cJSON_AddStringToObject(undo, "socket", socket);
	if (step_begin(snapshot, "serve", undo, error) < 0 ||
	    export_folder_make(folder, &lock, error) < 0)
		return NULL;
	disk = start_qemu_nbd(snapshot, socket, direct, error);
	if (disk && step_end(snapshot, "serve", error) < 0)
		g_clear_pointer(&disk, image_source_free);
	if (step_close(snapshot, "serve", disk ? error : NULL) < 0)
		g_clear_pointer(&disk, image_source_free);
	(void)close(lock);
	return g_steal_pointer(&disk);
}

/* Whether a write to the block device would be noticed. */
static int check_device(const struct snapshot *snapshot, GError **error)
{
	const char *path = disk_top(snapshot->disk)->path;

	if (!snapshot->disk_stamp)
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
			    "the kernel does not count the writes to %s (queue/iostats, diskseq)",
			    path);
	else if (!disk_supports_direct(snapshot->disk))
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
			    "%s or its backing file cannot be read past the page cache", path);
	else
		return 0;
	return -1;
}

static struct image_source *serve_past_cache_or_through(struct snapshot *snapshot, bool is_device,
							GError **error)
{
	g_autoptr(GError) local = NULL;
	struct image_source *disk = serve_disk(snapshot, true, &local);

	/* Of a device, the cache may have newer data than the count of writes covers. */
	if (disk || is_device ||
	    g_error_matches(local, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_CANCELLED)) {
		if (!disk)
			g_propagate_error(error, g_steal_pointer(&local));
		return disk;
	}
	g_info("guest %s: %s; retrying through the page cache", snapshot->guest.uuid,
	       local->message);
	return serve_disk(snapshot, false, error);
}

static enum snapshot_open_result stream_cold_open(struct snapshot *snapshot,
						  struct image_source **ret_disk, GError **error)
{
	g_autoptr(GError) local = NULL;
	bool is_device = disk_is_device(snapshot->disk);
	struct image_source *disk;

	if (managed_save_check_stopped(snapshot, error) < 0)
		return SNAPSHOT_FAILED;
	/* Not before: a guest that shuts down still writes. */
	g_free(snapshot->disk_stamp);
	snapshot->disk_stamp = disk_stamp_read(snapshot->disk);
	if (disk_complete_chain(snapshot->disk, snapshot->config->backing_dirs, snapshot->cancel,
				error) < 0)
		return SNAPSHOT_FAILED;
	if (is_device && check_device(snapshot, error) < 0)
		return SNAPSHOT_NOT_POSSIBLE;
	disk = serve_past_cache_or_through(snapshot, is_device, &local);
	if (disk)
		snapshot->disk_watch = disk_watch_start(snapshot, disk, &local);
	if (!snapshot->disk_watch) {
		bool cancelled =
			g_error_matches(local, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_CANCELLED);

		image_source_free(disk);
		g_propagate_error(error, g_steal_pointer(&local));
		return cancelled ? SNAPSHOT_FAILED : SNAPSHOT_NOT_POSSIBLE;
	}
	*ret_disk = watched_disk_new(snapshot, disk);
	return SNAPSHOT_OPENED;
}

/* While the source exists, whose server the watch may kill. */
static void stream_cold_end_export(struct snapshot *snapshot)
{
	disk_watch_stop(g_steal_pointer(&snapshot->disk_watch));
}

const struct snapshot_method method_stream_cold = {
	.name = "stream",
	.live = false,
	.open = stream_cold_open,
	.end_export = stream_cold_end_export,
	.fallback = &method_extract,
	.verify = stream_cold_verify,
	.verify_end = stream_cold_verify_end,
};
