/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest's disk as an image source that fails once its data no longer belongs to a single point in
 * time.
 */
#include "virt/method/watched-disk.h"

struct watched_disk {
	struct image_source head;
	struct image_source *disk;
	struct snapshot *snapshot;
};

/* Verifies the snapshot after an access to the disk. `rc` and `own` are the disk's result and
 * error; takes ownership of `own`. */
static int verify_after_access(struct snapshot *snapshot, int rc, GError *own, GError **error)
{
	if (snapshot->method->verify(snapshot, error) < 0) {
		g_clear_error(&own);
		return -1;
	}
	if (rc == 0)
		return 0;
	/* The export may end before libvirt reports why. */
	if (g_error_matches(own, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED)) {
		own->domain = VIRT_ERROR;
		own->code = VIRT_ERROR_INSTANT_LOST;
	}
	g_propagate_error(error, own);
	return -1;
}

static int watched_disk_start(struct image_source *source, struct image_read *read, uint64_t offset,
			      void *buf, size_t len, GError **error)
{
	struct watched_disk *watched = (struct watched_disk *)source;
	GError *own = NULL;

	if (image_source_start(watched->disk, read, offset, buf, len, &own) == 0)
		return 0;
	return verify_after_access(watched->snapshot, -1, own, error);
}

static int watched_disk_finish(struct image_source *source, struct image_read *read, GError **error)
{
	struct watched_disk *watched = (struct watched_disk *)source;
	GError *own = NULL;
	int rc = image_source_finish(watched->disk, read, &own);

	return verify_after_access(watched->snapshot, rc, own, error);
}

static int watched_disk_extents(struct image_source *source, image_extent_fn each, void *opaque,
				GError **error)
{
	struct watched_disk *watched = (struct watched_disk *)source;
	GError *own = NULL;
	int rc = watched->disk->ops->extents(watched->disk, each, opaque, &own);

	return verify_after_access(watched->snapshot, rc, own, error);
}

static void watched_disk_free(struct image_source *source)
{
	struct watched_disk *watched = (struct watched_disk *)source;
	struct snapshot *snapshot = watched->snapshot;

	if (snapshot->method->end_export)
		snapshot->method->end_export(snapshot);
	image_source_free(watched->disk);
	g_free(watched);
}

struct image_source *watched_disk_new(struct snapshot *snapshot, struct image_source *disk)
{
	static const struct image_source_ops ops = {
		.read = image_source_start_and_finish,
		.start = watched_disk_start,
		.finish = watched_disk_finish,
		.free = watched_disk_free,
		.extents = watched_disk_extents,
	};
	struct watched_disk *watched = g_new0(struct watched_disk, 1);

	watched->head.ops = &ops;
	watched->head.size = disk->size;
	watched->head.read_ahead_mib = disk->read_ahead_mib;
	watched->disk = disk;
	watched->snapshot = snapshot;
	return &watched->head;
}
