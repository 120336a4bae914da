/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The direct copy of a disk in Ceph: a clone of a snapshot of the disk, in the pool of Glance's
 * images, which is flattened there (nova.virt.libvirt.imagebackend.Rbd.direct_snapshot). The guest
 * goes on, and no data is downloaded and uploaded.
 */
#include "virt/method/stream-rbd.h"
#include "virt/rbd-location.h"
#include "virt/steps.h"

#define STEP "rbd-snap"
/* The snapshot that Glance makes of each of its images (glance_store's rbd driver). */
#define GLANCE_SNAP "snap"

struct copy {
	struct snapshot *snapshot;
	const struct snapshot_direct *direct;
	struct image_rbd *rbd;
	const struct disk_layer *disk;
	char *pool; /* of Glance's images */
	char *location;
	uint64_t size; /* of the disk, in bytes */
	bool not_possible;
};

bool snapshot_can_be_direct(const struct snapshot *snapshot)
{
	return snapshot->method == &method_stream_rbd && g_str_equal(snapshot->format, "raw");
}

/* nova infers Glance's pool in the same way, because nothing names it (Rbd._get_parent_pool). */
static char *pool_of_locations(const struct copy *copy)
{
	const char *const *url = copy->direct->base_locations;

	for (; url && *url; url++) {
		struct rbd_location location;
		bool is_here = rbd_location_parse(*url, &location) &&
			       g_str_equal(location.fsid, image_rbd_fsid(copy->rbd));
		g_autofree char *pool = is_here ? g_steal_pointer(&location.pool) : NULL;

		rbd_location_clear(&location);
		if (pool)
			return g_steal_pointer(&pool);
	}
	return NULL;
}

static int find_pool(struct copy *copy, GError **error)
{
	struct image_rbd_info info;
	GError *own = NULL;

	if (image_rbd_info_read(copy->rbd, copy->disk->rbd_pool, copy->disk->rbd_image, NULL, &info,
				&own) < 0) {
		rbd_snap_move_error(copy->snapshot, error, own);
		return -1;
	}
	copy->size = info.size;
	copy->pool = info.parent_pool ? g_strdup(info.parent_pool) : pool_of_locations(copy);
	image_rbd_info_clear(&info);
	if (copy->pool)
		return 0;
	copy->not_possible = true;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
		    "the disk %s has no parent, and the instance's base image is not in the Ceph "
		    "cluster %s: the pool of Glance's images is unknown",
		    copy->disk->path, image_rbd_fsid(copy->rbd));
	return -1;
}

/* An image of that name is not ours, and must not be removed as a failed copy. */
static int check_name_is_free(struct copy *copy, GError **error)
{
	const char *name = copy->direct->image_id;
	struct image_rbd_info info;
	GError *own = NULL;

	if (image_rbd_info_read(copy->rbd, copy->pool, name, NULL, &info, &own) == 0) {
		image_rbd_info_clear(&info);
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
			    "cannot copy the disk %s to %s/%s in Ceph: an image of that name "
			    "exists, and is left as it is",
			    copy->disk->path, copy->pool, name);
		return -1;
	}
	if (g_error_matches(own, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_NOT_FOUND)) {
		g_error_free(own);
		return 0;
	}
	/* The user has no capabilities for this pool at all. */
	copy->not_possible = g_error_matches(own, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_DENIED);
	virt_rbd_move_error(error, own);
	return -1;
}

/* Without the right to write to Glance's pool, nova streams, too (Forbidden). */
static int clone_disk(struct copy *copy, GError **error)
{
	GError *own = NULL;

	if (image_rbd_clone(copy->rbd, copy->disk->rbd_pool, copy->disk->rbd_image,
			    copy->snapshot->rbd_snap, copy->pool, copy->direct->image_id,
			    &own) == 0)
		return 0;
	copy->not_possible = g_error_matches(own, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_DENIED) ||
			     g_error_matches(own, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_UNSUPPORTED);
	if (copy->not_possible)
		g_prefix_error(&own,
			       "Ceph refuses a copy in the pool %s (docs/ceph.md): ", copy->pool);
	rbd_snap_move_error(copy->snapshot, error, own);
	return -1;
}

static int flatten_by(const struct copy *copy, bool by_manager, GError **own)
{
	const struct snapshot_direct *direct = copy->direct;

	return image_rbd_flatten(copy->rbd, copy->pool, direct->image_id, by_manager,
				 direct->progress, direct->opaque, own);
}

static int flatten_copy(const struct copy *copy, GError **error)
{
	const struct snapshot *snapshot = copy->snapshot;
	bool by_manager = snapshot->config->rbd_flatten_by_manager;
	GError *own = NULL;
	int rc = flatten_by(copy, by_manager, &own);

	if (rc < 0 && by_manager &&
	    (g_error_matches(own, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_UNSUPPORTED) ||
	     g_error_matches(own, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_DENIED))) {
		g_warning("guest %s: Ceph's manager cannot flatten the copy (%s): all data crosses "
			  "this host instead",
			  snapshot->guest.uuid, own->message);
		g_clear_error(&own);
		rc = flatten_by(copy, false, &own);
	}
	if (rc < 0)
		virt_rbd_move_error(error, own);
	return rc;
}

/* Glance uses images only by this snapshot. */
static int make_glance_snap(const struct copy *copy, GError **error)
{
	const char *name = copy->direct->image_id;
	GError *own = NULL;

	if (image_rbd_snap_create(copy->rbd, copy->pool, name, GLANCE_SNAP, &own) == 0 &&
	    image_rbd_snap_protect(copy->rbd, copy->pool, name, GLANCE_SNAP, &own) == 0)
		return 0;
	virt_rbd_move_error(error, own);
	return -1;
}

/* The copy no longer needs the disk's snapshot. If it cannot be removed now, that is left to
 * recovery. */
static void remove_disk_snap(const struct copy *copy)
{
	g_autoptr(GError) local = NULL;

	if (step_close(copy->snapshot, STEP, &local) < 0)
		g_warning("guest %s: %s", copy->snapshot->guest.uuid, local->message);
}

static int make_copy(struct copy *copy, GError **error)
{
	struct snapshot *snapshot = copy->snapshot;
	const struct snapshot_direct *direct = copy->direct;

	if (step_begin(snapshot, "rbd-copy", NULL, error) < 0)
		return -1;
	copy->location = rbd_location_format(image_rbd_fsid(copy->rbd), copy->pool,
					     direct->image_id, GLANCE_SNAP);
	if (direct->begin_copy(direct->opaque, copy->location, copy->size, error) < 0 ||
	    clone_disk(copy, error) < 0 || step_end(snapshot, "rbd-copy", error) < 0 ||
	    step_begin(snapshot, "rbd-flatten", NULL, error) < 0 || flatten_copy(copy, error) < 0)
		return -1;
	return step_end(snapshot, "rbd-flatten", error);
}

static int copy_disk(struct copy *copy, GError **error)
{
	struct snapshot *snapshot = copy->snapshot;

	if (find_pool(copy, error) < 0 || check_name_is_free(copy, error) < 0 ||
	    rbd_snap_make(snapshot, copy->rbd, error) < 0 || make_copy(copy, error) < 0)
		return -1;
	remove_disk_snap(copy);
	if (step_begin(snapshot, "rbd-share", NULL, error) < 0 ||
	    make_glance_snap(copy, error) < 0 || step_end(snapshot, "rbd-share", error) < 0)
		return -1;
	return snapshot_verify_end(snapshot, error);
}

char *snapshot_copy_direct(struct snapshot *snapshot, const struct snapshot_direct *direct,
			   bool *ret_not_possible, GError **error)
{
	struct image_rbd_cluster cluster = virt_rbd_cluster(snapshot->config, NULL, NULL);
	struct copy copy = {
		.snapshot = snapshot, .direct = direct, .disk = disk_top(snapshot->disk)};
	int rc;

	copy.rbd = virt_rbd_open(&cluster, snapshot->cancel, error);
	rc = copy.rbd ? copy_disk(&copy, error) : -1;
	image_rbd_close(copy.rbd);
	g_free(copy.pool);
	*ret_not_possible = rc < 0 && copy.not_possible;
	if (rc < 0)
		g_clear_pointer(&copy.location, g_free);
	return copy.location;
}
