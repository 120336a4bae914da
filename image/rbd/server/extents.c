/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where an image has data: rbd_diff_iterate2() from the beginning of time.
 */
#include "image/rbd/server/extents.h"

#include <errno.h>

#include "image/rbd/server/parent.h"
#include "image/rbd/server/reply.h"

/* How much of the image is asked for at once, so that there is progress to report. */
#define WINDOW ((uint64_t)64 << 30)
/* Clones of clones: nova makes one level, and operators may make a few. */
#define PARENTS_MAX 16

struct extent {
	uint64_t offset, end;
};

static int add_extent(uint64_t offset, size_t length, int exists, void *opaque)
{
	GArray *extents = opaque;
	struct extent extent = {offset, offset + length};

	if (exists && length > 0)
		g_array_append_val(extents, extent);
	return 0;
}

static int compare_extents(gconstpointer a, gconstpointer b)
{
	const struct extent *one = a, *other = b;

	return one->offset < other->offset ? -1 : one->offset > other->offset;
}

/* Sorts the extents, and joins those that touch or overlap. */
static void join_extents(GArray *extents)
{
	struct extent *all = (struct extent *)(void *)extents->data;
	guint kept = 0;

	g_array_sort(extents, compare_extents);
	for (guint i = 1; i < extents->len; i++) {
		if (all[i].offset <= all[kept].end)
			all[kept].end = MAX(all[kept].end, all[i].end);
		else
			all[++kept] = all[i];
	}
	if (extents->len > 0)
		g_array_set_size(extents, kept + 1);
}

static bool has_fast_diff(rbd_image_t image)
{
	uint64_t features = 0, flags = 0;

	return rbd_get_features(image, &features) == 0 && rbd_get_flags(image, &flags) == 0 &&
	       (features & RBD_FEATURE_FAST_DIFF) &&
	       !(flags & (RBD_FLAG_FAST_DIFF_INVALID | RBD_FLAG_OBJECT_MAP_INVALID));
}

/*
 * Returns whether the image and all its parents have a map of their objects that is valid. Then the
 * maps tell which objects exist, and no object is asked. Otherwise each object tells its own
 * extents; a mixture of both is avoided, because releases of Ceph treat it differently.
 */
static bool maps_are_valid(struct server *server, rbd_image_t image, unsigned depth)
{
	rados_ioctx_t io = NULL;
	rbd_image_t parent = NULL;
	bool valid;
	int rc;

	if (!has_fast_diff(image))
		return false;
	rc = parent_open(server, image, &io, &parent);
	if (rc < 0)
		return rc == -ENOENT;
	valid = depth < PARENTS_MAX && maps_are_valid(server, parent, depth + 1);
	(void)rbd_close(parent);
	rados_ioctx_destroy(io);
	return valid;
}

static void send_extents(struct server *server, const GArray *extents)
{
	g_autofree uint8_t *data = g_malloc(RBD_EXTENTS_PER_FRAME * RBD_EXTENT_SIZE);

	for (guint at = 0; at < extents->len; at += RBD_EXTENTS_PER_FRAME) {
		uint32_t count = MIN(RBD_EXTENTS_PER_FRAME, extents->len - at);
		cJSON *json = cJSON_CreateObject();

		for (uint32_t i = 0; i < count; i++) {
			const struct extent *extent =
				&g_array_index(extents, struct extent, at + i);

			rbd_frame_write_extent(data + (size_t)i * RBD_EXTENT_SIZE, extent->offset,
					       extent->end - extent->offset);
		}
		(void)cJSON_AddNumberToObject(json, "extents", count);
		reply_send(server, json, data, count * RBD_EXTENT_SIZE);
	}
}

int extents_send(struct server *server, rbd_image_t image, uint64_t size)
{
	g_autoptr(GArray) extents = g_array_new(FALSE, FALSE, sizeof(struct extent));
	uint8_t whole = maps_are_valid(server, image, 0);

	for (uint64_t at = 0; at < size && !atomic_load(&server->closing); at += WINDOW) {
		int rc = rbd_diff_iterate2(image, NULL, at, MIN(WINDOW, size - at), 1, whole,
					   add_extent, extents);

		if (rc < 0)
			return rc;
		reply_progress(server, 0, 0);
	}
	join_extents(extents);
	send_extents(server, extents);
	return 0;
}
