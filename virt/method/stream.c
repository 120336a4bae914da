/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Without a local copy: the disk is read over NBD while the image is sent. Of a guest that runs or
 * is paused by a pull-mode backup (virDomainBackupBegin), which shows the disk as it was when it
 * began; of one that is at rest by qemu-nbd, read-only.
 */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "virt/method/stream.h"

#define SHUT_OFF_S 60

/* --- the source that is given out: an encoder, with an eye on the guest ----------------------- */

struct watched {
	struct image_source head;
	struct image_source *source;
	struct snapshot *snapshot;
	bool whole; /* it is the image itself: its last byte is the end */
};

static int check(struct snapshot *snapshot, GError **error)
{
	if (snapshot->stream && guard_fired(snapshot->stream->guard)) {
		g_set_error(
			error, VIRT_ERROR, VIRT_ERROR_PROCESS,
			"[novasnap]scratch_dir %s is nearly full: the stream was given up, so that "
			"the guest is not stopped; make room, or give it another place",
			host_config(snapshot->host)->scratch_dir);
		return -1;
	}
	if (watch_guest_undefined(snapshot->watch)) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN,
				    "the guest was deleted while its disk was read");
		return -1;
	}
	if (!snapshot->method->live && watch_guest_started(snapshot->watch)) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_INSTANT_LOST,
				    "somebody started the guest while its disk was read: what was "
				    "read is of no single instant");
		return -1;
	}
	if (snapshot->method->live && watch_guest_stopped(snapshot->watch)) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_INSTANT_LOST,
				    "the guest stopped, and the export of its disk with it");
		return -1;
	}
	return 0;
}

/* A guest that runs by now may have written before libvirt's event reached us. */
static int check_last(struct snapshot *snapshot, GError **error)
{
	if (snapshot->method->live || cold_check_stopped(snapshot, NULL) == 0)
		return 0;
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_INSTANT_LOST,
			    "somebody started the guest while its disk was read");
	return -1;
}

/* Why it failed is known here better than there; and what was read may be worth nothing. */
static int judge(struct snapshot *snapshot, int rc, GError *local, GError **error)
{
	if (check(snapshot, error) < 0) {
		g_clear_error(&local);
		return -1;
	}
	if (rc == 0)
		return 0;
	/* The export may be gone before libvirt tells why. */
	if (g_error_matches(local, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED)) {
		local->domain = VIRT_ERROR;
		local->code = VIRT_ERROR_INSTANT_LOST;
	}
	g_propagate_error(error, local);
	return -1;
}

static int watched_read(struct image_source *source, uint64_t offset, void *buf, size_t len,
			GError **error)
{
	struct watched *watched = (struct watched *)source;
	GError *local = NULL;
	int rc = watched->source->ops->read(watched->source, offset, buf, len, &local);

	if (judge(watched->snapshot, rc, local, error) < 0)
		return -1;
	return watched->whole && offset + len == source->size ? check_last(watched->snapshot, error)
							      : 0;
}

static int watched_extents(struct image_source *source, image_extent_fn each, void *opaque,
			   GError **error)
{
	struct watched *watched = (struct watched *)source;
	GError *local = NULL;
	int rc = watched->source->ops->extents(watched->source, each, opaque, &local);

	return judge(watched->snapshot, rc, local, error);
}

static void watched_free(struct image_source *source)
{
	struct watched *watched = (struct watched *)source;

	image_source_free(watched->source);
	g_free(watched);
}

/* Takes the source. */
static struct image_source *watch(struct snapshot *snapshot, struct image_source *source,
				  bool whole)
{
	static const struct image_source_ops disk_ops = {
		.read = watched_read, .free = watched_free, .extents = watched_extents};
	static const struct image_source_ops image_ops = {.read = watched_read,
							  .free = watched_free};
	struct watched *watched = g_new0(struct watched, 1);

	watched->head.ops = whole ? &image_ops : &disk_ops;
	watched->head.size = source->size;
	watched->source = source;
	watched->snapshot = snapshot;
	watched->whole = whole;
	return &watched->head;
}

/* Takes the disk. What is compressed, or looked through for zeros, is read twice. */
static struct image_source *encode(struct snapshot *snapshot, struct image_source *disk,
				   GError **error)
{
	const struct virt_config *config = host_config(snapshot->host);
	struct image_compression how = {
		.zstd = config->compress_zstd,
		.cancel = snapshot->cancel,
		.spill_dir = config->scratch_dir,
	};
	struct image_source *image;

	disk = watch(snapshot, disk, false);
	if (!g_str_equal(snapshot->format, "qcow2")) {
		image = image_source_new_raw(disk, error);
	} else if (config->snapshot_compression) {
		image = image_source_new_qcow2_compressed(disk, &how, error);
	} else {
		if (config->scan_zeroes)
			disk = image_source_new_scanned(disk, snapshot->cancel, error);
		image = disk ? image_source_new_qcow2(disk, error) : NULL;
	}
	return image ? watch(snapshot, image, true) : NULL;
}

/* --- live ---------------------------------------------------------------------------------------
 */

static int make_places(struct snapshot *snapshot, struct stream *stream, GError **error)
{
	struct virt_user user;
	cJSON *undo;

	if (stream_choose_places(snapshot, stream, &user, error) < 0)
		return -1;
	undo = cJSON_CreateObject();
	cJSON_AddStringToObject(undo, "target", snapshot->disk->target);
	cJSON_AddStringToObject(undo, "socket", stream->socket);
	cJSON_AddStringToObject(undo, "scratch", stream->scratch);
	cJSON_AddBoolToObject(undo, "running", snapshot->first_state == VIR_DOMAIN_RUNNING);
	if (step_begin(snapshot, "backup", undo, error) < 0)
		return -1;
	return stream_make_folder(stream->folder, &stream->lock, error) < 0
		       ? -1
		       : stream_share_folder(stream->folder, &user, error);
}

static char *backup_xml(const struct snapshot *snapshot, const struct stream *stream,
			GError **error)
{
	const char *target = snapshot->disk->target;
	g_autoptr(GString) xml = g_string_new("<domainbackup mode='pull'>");
	char *domain = domain_xml(snapshot->domain, error);
	g_autofree char *server = NULL;
	g_autofree char *chosen = NULL;
	GPtrArray *disks;

	if (!domain)
		return NULL;
	server = g_markup_printf_escaped("<server transport='unix' socket='%s'/><disks>",
					 stream->socket);
	chosen = g_markup_printf_escaped("<disk name='%s' backup='yes' type='file' exportname='%s'>"
					 "<driver type='qcow2'/><scratch file='%s'/></disk>",
					 target, target, stream->scratch);
	g_string_append_printf(xml, "%s%s", server, chosen);
	disks = domain_disks(domain);
	for (guint i = 0; i < disks->len; i++) {
		const struct domain_disk *disk = disks->pdata[i];
		g_autofree char *other =
			g_markup_printf_escaped("<disk name='%s' backup='no'/>", disk->target);

		if (!g_str_equal(disk->target, target))
			g_string_append(xml, other);
	}
	g_string_append(xml, "</disks></domainbackup>");
	g_ptr_array_unref(disks);
	free(domain);
	return g_strdup(xml->str);
}

/* Of a libvirt that cannot, or of a QEMU that is not let to where the socket is (AppArmor). */
static bool is_not_possible(int code)
{
	return code == VIR_ERR_INTERNAL_ERROR || code == VIR_ERR_NO_SUPPORT ||
	       code == VIR_ERR_OPERATION_UNSUPPORTED || code == VIR_ERR_ARGUMENT_UNSUPPORTED ||
	       code == VIR_ERR_CONFIG_UNSUPPORTED;
}

static int begin(struct snapshot *snapshot, struct stream *stream, GError **error)
{
	g_autofree char *xml = backup_xml(snapshot, stream, error);
	int code, rc;

	if (!xml || quiesce_begin(snapshot, error) < 0)
		return -1;
	stream->job_started = true;
	rc = virDomainBackupBegin(snapshot->domain, xml, NULL, 0);
	if (rc < 0) {
		code = virGetLastErrorCode();
		virt_set_error(error, "starting the export of the disk");
		if (error && *error && (*error)->code == VIRT_ERROR_FAILED && is_not_possible(code))
			(*error)->code = VIRT_ERROR_UNSUPPORTED;
		(void)quiesce_end(snapshot, NULL);
		return -1;
	}
	if (step_end(snapshot, "backup", error) < 0)
		return -1;
	return quiesce_end(snapshot, error);
}

static struct image_source *open_live(struct snapshot *snapshot, GError **error)
{
	const struct virt_config *config = host_config(snapshot->host);
	struct stream *stream = snapshot->stream = g_new0(struct stream, 1);
	bool is_qcow2 = g_str_equal(snapshot->format, "qcow2");
	struct image_nbd nbd = {
		.export_name = snapshot->disk->target,
		.timeout_s = config->nbd_timeout_s,
		.cancel = snapshot->cancel,
	};
	virDomainBlockInfo size;
	struct image_source *disk;

	stream->lock = -1;
	if (jobs_clear(snapshot, error) < 0)
		return NULL;
	if (virDomainGetBlockInfo(snapshot->domain, snapshot->disk->target, &size, 0) < 0) {
		virt_set_error(error, "asking for the disk's size");
		return NULL;
	}
	if (is_qcow2 && size.capacity > IMAGE_QCOW2_MAX) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
				    "the disk is larger than 8 TiB");
		return NULL;
	}
	if (make_places(snapshot, stream, error) < 0 ||
	    guard_check_room(config, size.capacity, error) < 0 ||
	    begin(snapshot, stream, error) < 0)
		return NULL;
	stream->guard = guard_start(snapshot, error);
	if (!stream->guard)
		return NULL;
	nbd.socket = stream->socket;
	disk = image_source_new_nbd(&nbd, error);
	return disk ? encode(snapshot, disk, error) : NULL;
}

static int end_stream(struct snapshot *snapshot, GError **error)
{
	const struct stream *stream = snapshot->stream;

	if (step_begin(snapshot, "end", NULL, error) < 0 ||
	    (stream->job_started && jobs_end_backup(snapshot->domain, stream->socket, error) < 0) ||
	    jobs_remove_places(stream->socket, stream->scratch, error) < 0 ||
	    step_end(snapshot, "end", error) < 0)
		return -1;
	step_over(snapshot, "backup");
	return 0;
}

static int undo(struct snapshot *snapshot, GError **error)
{
	struct stream *stream = snapshot->stream;
	int rc = quiesce_end(snapshot, error);

	if (!stream)
		return rc;
	/* The guest is guarded until its job is gone; the files of one that may be there stay. */
	if (stream->socket && end_stream(snapshot, rc == 0 ? error : NULL) < 0)
		rc = -1;
	guard_stop(stream->guard);
	if (stream->lock >= 0)
		(void)close(stream->lock);
	g_free(stream->folder);
	g_free(stream->socket);
	g_free(stream->scratch);
	g_clear_pointer(&snapshot->stream, g_free);
	return rc;
}

/* --- cold ---------------------------------------------------------------------------------------
 */

/* While a guest shuts down, QEMU still writes. */
static int wait_shut_off(struct snapshot *snapshot, GError **error)
{
	gint64 until = g_get_monotonic_time() + SHUT_OFF_S * G_USEC_PER_SEC;
	int state;

	while ((state = snapshot_guest_state(snapshot, error)) == VIR_DOMAIN_SHUTDOWN) {
		if (g_get_monotonic_time() > until) {
			g_set_error(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT,
				    "the guest is shutting down, and has not in %d s", SHUT_OFF_S);
			return -1;
		}
		g_usleep(G_USEC_PER_SEC / 20);
	}
	return state < 0 ? -1 : 0;
}

/* Whoever starts the guest meanwhile is not kept from it: the snapshot begins anew. */
static struct image_source *serve_at(struct snapshot *snapshot, const char *socket, bool direct,
				     GError **error)
{
	g_autofree char *chain = disk_json_name_shared(snapshot->disk, direct);
	const char *argv[] = {"qemu-nbd", "--read-only", "--discard=ignore", chain, NULL};
	struct image_nbd nbd = {
		.socket = socket,
		.argv = argv,
		.export_name = "",
		.timeout_s = host_config(snapshot->host)->nbd_timeout_s,
		.cancel = snapshot->cancel,
	};

	return image_source_new_nbd(&nbd, error);
}

/* In a folder of its own, which is there until we are connected. */
static struct image_source *serve(struct snapshot *snapshot, bool direct, GError **error)
{
	g_autofree char *folder = jobs_folder_name(host_config(snapshot->host)->run_dir);
	g_autofree char *socket = g_build_filename(folder, SOCKET, NULL);
	g_autoptr(image_source_t) disk = NULL;
	cJSON *undo = cJSON_CreateObject();
	int lock;

	cJSON_AddStringToObject(undo, "socket", socket);
	if (step_begin(snapshot, "serve", undo, error) < 0 ||
	    stream_make_folder(folder, &lock, error) < 0)
		return NULL;
	disk = serve_at(snapshot, socket, direct, error);
	if (jobs_remove_places(socket, NULL, disk ? error : NULL) < 0 ||
	    (disk && step_end(snapshot, "serve", error) < 0))
		g_clear_pointer(&disk, image_source_free);
	else
		step_over(snapshot, "serve");
	(void)close(lock);
	return g_steal_pointer(&disk);
}

static struct image_source *open_cold(struct snapshot *snapshot, GError **error)
{
	g_autoptr(GError) local = NULL;
	struct image_source *disk;

	if (wait_shut_off(snapshot, error) < 0 || cold_check_stopped(snapshot, error) < 0 ||
	    disk_complete_chain(snapshot->disk, host_config(snapshot->host)->backing_dirs,
				snapshot->cancel, error) < 0)
		return NULL;
	disk = serve(snapshot, true, &local);
	if (!disk && !g_error_matches(local, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_CANCELLED)) {
		g_info("guest %s: %s; tried through the page cache", snapshot->uuid,
		       local->message);
		g_clear_error(&local);
		disk = serve(snapshot, false, &local);
	}
	if (!disk)
		g_propagate_error(error, g_steal_pointer(&local));
	return disk ? encode(snapshot, disk, error) : NULL;
}

const struct snapshot_method method_stream_live = {
	.name = "stream",
	.live = true,
	.open = open_live,
	.fallback = &method_rebase,
	.check = check,
	.undo = undo,
};

const struct snapshot_method method_stream_cold = {
	.name = "stream",
	.live = false,
	.open = open_cold,
	.fallback = &method_extract,
	.check = check,
	.undo = undo,
};
