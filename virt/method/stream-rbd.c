/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The method stream for a disk in Ceph, whatever the guest's state: a snapshot in Ceph is read
 * during the upload, and removed afterwards. The guest is never stopped. Where its agent may be
 * used, it is frozen only while the snapshot is made. What the guest does later is not in the
 * snapshot; but if it is deleted, the snapshot must go, because nova cannot remove a disk that has
 * one.
 */
#include "virt/method/stream-rbd.h"

#include <cjson/cJSON.h>

#include "virt/domain/guest-query.h"
#include "virt/method/quiesce.h"
#include "virt/method/watched-disk.h"
#include "virt/steps.h"

#define STEP "rbd-snap"

static int refuse_deleted(GError **error)
{
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN,
			    "the guest was deleted while the snapshot of its disk was read: nova "
			    "can remove the disk only without that snapshot");
	return -1;
}

static int stream_rbd_verify(struct snapshot *snapshot, GError **error)
{
	return domain_events_guest_undefined(snapshot->events) ? refuse_deleted(error) : 0;
}

/* Without events, libvirt is asked. If it does not answer, the data is right nevertheless. */
static int stream_rbd_verify_end(struct snapshot *snapshot, GError **error)
{
	if (stream_rbd_verify(snapshot, error) < 0)
		return -1;
	if (!domain_events_are_lost(snapshot->events))
		return 0;
	return guest_exists(&snapshot->guest, NULL) == GUEST_NO ? refuse_deleted(error) : 0;
}

static cJSON *describe_undo(const struct snapshot *snapshot, const struct image_rbd *rbd,
			    const struct disk_layer *disk)
{
	const struct virt_config *config = snapshot->config;
	cJSON *undo = cJSON_CreateObject();

	cJSON_AddStringToObject(undo, "pool", disk->rbd_pool);
	cJSON_AddStringToObject(undo, "image", disk->rbd_image);
	cJSON_AddStringToObject(undo, "snap", snapshot->rbd_snap);
	cJSON_AddStringToObject(undo, "conf", config->rbd_conf ? config->rbd_conf : "");
	cJSON_AddStringToObject(undo, "user", config->rbd_user ? config->rbd_user : "");
	cJSON_AddStringToObject(undo, "fsid", image_rbd_fsid(rbd));
	return undo;
}

/* Nobody writes to the disk of a guest without a QEMU process, so there is nothing to freeze. */
static int freeze_if_active(struct snapshot *snapshot, GError **error)
{
	int state = guest_state(&snapshot->guest, NULL, error);

	if (state < 0)
		return -1;
	return guest_state_is_active(state) ? quiesce_begin(snapshot, error) : 0;
}

/* The disk was looked up shortly before: with the disk gone, the guest is being deleted. */
void rbd_snap_move_error(struct snapshot *snapshot, GError **error, GError *own)
{
	bool is_gone = g_error_matches(own, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_NOT_FOUND);

	if (is_gone && guest_exists(&snapshot->guest, NULL) == GUEST_NO) {
		g_error_free(own);
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN,
				    "the guest and its disk were deleted meanwhile");
		return;
	}
	virt_rbd_move_error(error, own);
}

/* A cluster that does not answer is found out before the guest is frozen. */
static int check_disk(struct snapshot *snapshot, struct image_rbd *rbd,
		      const struct disk_layer *disk, GError **error)
{
	struct image_rbd_info info;
	GError *own = NULL;

	if (image_rbd_info_read(rbd, disk->rbd_pool, disk->rbd_image, NULL, &info, &own) == 0) {
		image_rbd_info_clear(&info);
		return 0;
	}
	rbd_snap_move_error(snapshot, error, own);
	return -1;
}

/* In a pool that is over its quota, Ceph 16 reports success, and then says that the snapshot does
 * not exist, although it lists it. */
static int check_made(struct snapshot *snapshot, struct image_rbd *rbd,
		      const struct disk_layer *disk, GError **error)
{
	bool exists;

	if (virt_rbd_exists(rbd, disk->rbd_pool, disk->rbd_image, snapshot->rbd_snap, &exists,
			    error) < 0)
		return -1;
	if (exists)
		return 0;
	if (guest_exists(&snapshot->guest, NULL) == GUEST_NO)
		return refuse_deleted(error);
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
		    "Ceph has made the snapshot %s of %s, but cannot open it: the pool %s may be "
		    "full, or over its quota (ceph df)",
		    snapshot->rbd_snap, disk->path, disk->rbd_pool);
	return -1;
}

int rbd_snap_make(struct snapshot *snapshot, struct image_rbd *rbd, GError **error)
{
	const struct disk_layer *disk = disk_top(snapshot->disk);
	g_autofree char *id = g_uuid_string_random();
	GError *own = NULL;

	if (check_disk(snapshot, rbd, disk, error) < 0)
		return -1;
	g_free(snapshot->rbd_snap);
	snapshot->rbd_snap = g_strconcat(IMAGE_RBD_SNAP_PREFIX, id, NULL);
	/* The step begins before the freeze, which is then over sooner. */
	if (step_begin(snapshot, STEP, describe_undo(snapshot, rbd, disk), error) < 0 ||
	    freeze_if_active(snapshot, error) < 0)
		return -1;
	(void)image_rbd_snap_create(rbd, disk->rbd_pool, disk->rbd_image, snapshot->rbd_snap, &own);
	/* Thawed first, also after a failure. */
	if (quiesce_end(snapshot, own ? NULL : error) < 0 && !own)
		return -1;
	if (!own)
		return check_made(snapshot, rbd, disk, error) < 0 ? -1
								  : step_end(snapshot, STEP, error);
	rbd_snap_move_error(snapshot, error, own);
	return -1;
}

static struct image_source *open_snap(struct snapshot *snapshot,
				      const struct image_rbd_cluster *cluster, GError **error)
{
	const struct disk_layer *disk = disk_top(snapshot->disk);
	GError *own = NULL;
	struct image_source *source =
		image_source_new_rbd(cluster, snapshot->cancel, disk->rbd_pool, disk->rbd_image,
				     snapshot->rbd_snap, &own);

	if (!source)
		rbd_snap_move_error(snapshot, error, own);
	return source;
}

static enum snapshot_open_result stream_rbd_open(struct snapshot *snapshot,
						 struct image_source **ret_disk, GError **error)
{
	struct image_rbd_cluster cluster = virt_rbd_cluster(snapshot->config, NULL, NULL);
	struct image_rbd *rbd;
	struct image_source *disk;
	int rc;

	/* That of a direct copy that was not possible. */
	if (step_close(snapshot, STEP, error) < 0)
		return SNAPSHOT_FAILED;
	rbd = virt_rbd_open(&cluster, snapshot->cancel, error);
	rc = rbd ? rbd_snap_make(snapshot, rbd, error) : -1;
	image_rbd_close(rbd);
	disk = rc == 0 ? open_snap(snapshot, &cluster, error) : NULL;
	if (!disk)
		return SNAPSHOT_FAILED;
	*ret_disk = watched_disk_new(snapshot, disk);
	return SNAPSHOT_OPENED;
}

const struct snapshot_method method_stream_rbd = {
	.name = "stream",
	.live = true,
	.open = stream_rbd_open,
	.verify = stream_rbd_verify,
	.verify_end = stream_rbd_verify_end,
};
