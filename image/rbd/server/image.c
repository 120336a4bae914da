/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images: what they are, how they are cloned and removed.
 */
#include <errno.h>
#include <string.h>

#include "image/rbd/server/cluster.h"
#include "image/rbd/server/copy.h"
#include "image/rbd/server/failure.h"
#include "image/rbd/server/manager.h"
#include "image/rbd/server/operations.h"
#include "image/rbd/server/reply.h"
#include "image/rbd/server/snapshot.h"

/* The cluster forgets a dead client after 30 s. A watch of this client whose end was not answered
 * lasts as long as this process, so the caller then tries again with another one. */
#define REMOVE_BUSY_S 35
#define OPTION_SIZE 256
#define RELEASE_MIMIC 13 /* of Ceph */

int image_has_parent(rbd_image_t image)
{
	rbd_linked_image_spec_t parent;
	rbd_snap_spec_t snap;
	int rc = rbd_get_parent(image, &parent, &snap);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	rbd_linked_image_spec_cleanup(&parent);
	rbd_snap_spec_cleanup(&snap);
	return 1;
}

static int add_parent(rbd_image_t image, cJSON *answer)
{
	rbd_linked_image_spec_t parent;
	rbd_snap_spec_t snap;
	int rc = rbd_get_parent(image, &parent, &snap);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	(void)cJSON_AddStringToObject(answer, "parent_pool", parent.pool_name);
	(void)cJSON_AddStringToObject(answer, "parent_image", parent.image_name);
	(void)cJSON_AddStringToObject(answer, "parent_snap", snap.name);
	rbd_linked_image_spec_cleanup(&parent);
	rbd_snap_spec_cleanup(&snap);
	return 0;
}

int operation_info(struct server *server, const cJSON *request, cJSON *answer, GError **error)
{
	struct cluster_image image;
	rbd_image_info_t info = {0};
	int rc = cluster_image_open(server, request, CLUSTER_OPEN_READ, &image, error);

	if (rc == 0) {
		rc = rbd_stat(image.image, &info, sizeof(info));
		if (rc == 0) {
			(void)cJSON_AddNumberToObject(answer, "size", (double)info.size);
			rc = add_parent(image.image, answer);
		}
		if (rc < 0)
			rc = failure_set(server, error, rc, image.pool, image.title);
	}
	cluster_image_close(&image);
	return rc;
}

/* As nova.storage.rbd_utils.RADOSClient.features. Returns NULL if librbd's own defaults hold. */
static rbd_image_options_t clone_options(struct server *server)
{
	char text[OPTION_SIZE] = "";
	rbd_image_options_t options;
	guint64 features = 0;

	rbd_image_options_create(&options);
	if (rados_conf_get(server->cluster, "rbd_default_features", text, sizeof(text)) < 0)
		text[0] = '\0';
	/* Names of features are left to librbd. */
	if (!*text || g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT64, &features, NULL))
		(void)rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_FEATURES,
						   features ? features : RBD_FEATURE_LAYERING);
	return options;
}

/*
 * Returns whether librbd will make a clone of format 1, which needs a protected snapshot: as
 * librbd's CloneRequest chooses it. It is asked for first, because librbd of Ceph 16 has aborted in
 * clones that it refuses.
 */
static bool needs_protection(struct server *server)
{
	char format[OPTION_SIZE] = "auto";
	int8_t least = 0, required = 0;

	(void)rados_conf_get(server->cluster, "rbd_default_clone_format", format, sizeof(format));
	if (g_str_equal(format, "1") || g_str_equal(format, "2"))
		return g_str_equal(format, "1");
	return rados_get_min_compatible_client(server->cluster, &least, &required) < 0 ||
	       required < RELEASE_MIMIC;
}

static int protect(const struct cluster_image *from)
{
	rbd_image_t image;
	int rc = rbd_open(from->io, from->name, &image, NULL);

	if (rc < 0)
		return rc;
	rc = snapshot_protect(image, from->snap);
	(void)rbd_close(image);
	return rc;
}

static int clone_snapshot(struct server *server, const struct cluster_image *from, rados_ioctx_t to,
			  const char *to_image)
{
	rbd_image_options_t options = clone_options(server);
	int rc = needs_protection(server) ? protect(from) : 0;

	if (rc == 0)
		rc = rbd_clone3(from->io, from->name, from->snap, to, to_image, options);
	if (rc == 0)
		rc = copy_mark(to, to_image);
	rbd_image_options_destroy(options);
	return rc;
}

int operation_clone(struct server *server, const cJSON *request, cJSON *answer, GError **error)
{
	const char *to_pool = rbd_frame_string(request, "to_pool");
	const char *to_image = rbd_frame_string(request, "to_image");
	struct cluster_image from;
	rados_ioctx_t to = NULL;
	int rc;

	(void)answer;
	if (!to_pool || !*to_pool || !to_image || !*to_image)
		return failure_set_request(error);
	/* At the snapshot: what does not exist is its own error. */
	rc = cluster_image_open(server, request, CLUSTER_OPEN_READ, &from, error);
	if (rc == 0 && !from.snap)
		rc = failure_set_request(error);
	if (rc == 0)
		rc = cluster_pool_open(server, to_pool, &to, error);
	if (rc == 0) {
		rc = clone_snapshot(server, &from, to, to_image);
		if (rc < 0) {
			g_autofree char *object =
				g_strdup_printf("the image %s/%s", to_pool, to_image);

			rc = failure_set(server, error, rc, to_pool,
					 rc == -ENOENT ? from.title : object);
		}
	}
	if (to)
		rados_ioctx_destroy(to);
	cluster_image_close(&from);
	return rc;
}

static int remove_snapshots(struct server *server, rbd_image_t image)
{
	rbd_snap_info_t *snaps;
	int count = snapshot_list(image, &snaps), rc = 0;

	for (int i = 0; i < count && rc == 0; i++) {
		rbd_snap_namespace_type_t type;

		rc = rbd_snap_get_namespace_type(image, snaps[i].id, &type);
		if (rc == 0 && type == RBD_SNAP_NAMESPACE_TYPE_TRASH)
			rc = rbd_snap_remove_by_id(image, snaps[i].id);
		else if (rc == 0)
			rc = snapshot_remove(server, image, snaps[i].name);
		reply_progress(server, 0, 0);
	}
	snapshot_list_free(snaps, count);
	return count < 0 ? count : rc;
}

/* What keeps a copy from being removed: a flatten task of it, and its snapshots. -EEXIST: it is no
 * copy of novasnapd's. */
static int prepare_removal(struct server *server, struct cluster_image *image)
{
	int rc = rbd_open(image->io, image->name, &image->image, NULL);

	/* An image that was removed in part cannot be opened. */
	if (rc < 0) {
		image->image = NULL;
		return rc == -ENOENT ? 0 : rc;
	}
	rc = copy_is_ours(server, image->image, image->name);
	if (rc == 0)
		rc = -EEXIST;
	/* Only an image with a parent can be in a flatten task. */
	if (rc > 0 && image_has_parent(image->image) > 0)
		manager_cancel_tasks(server, image->pool, image->name);
	if (rc > 0)
		rc = remove_snapshots(server, image->image);
	(void)rbd_close(image->image);
	image->image = NULL;
	return rc;
}

static int report_removed(uint64_t done, uint64_t total, void *opaque)
{
	struct server *server = opaque;

	reply_progress(server, done, total);
	return 0;
}

int operation_remove_copy(struct server *server, const cJSON *request, cJSON *answer,
			  GError **error)
{
	struct failure_retry retry = {0};
	GError *local = NULL;
	struct cluster_image image;
	int rc = cluster_image_open(server, request, CLUSTER_OPEN_NOTHING, &image, &local);

	(void)answer;
	if (rc == 0) {
		do {
			rc = prepare_removal(server, &image);
			if (rc == 0)
				rc = rbd_remove_with_progress(image.io, image.name, report_removed,
							      server);
		} while (failure_is_retried(server, &retry, rc, REMOVE_BUSY_S));
		if (rc == -EEXIST)
			g_set_error(&local, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_EXISTS,
				    "%s was not made by novasnapd, and is left", image.title);
		else if (rc < 0)
			rc = failure_set(server, &local, rc, image.pool, image.title);
	}
	cluster_image_close(&image);
	return failure_unless_missing(rc, local, error);
}
