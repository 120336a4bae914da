/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots.
 */
#include "image/rbd/server/snapshot.h"

#include <errno.h>

#include "image/rbd/server/cluster.h"
#include "image/rbd/server/failure.h"
#include "image/rbd/server/operations.h"

/* A clone that is being removed, or a client that has just died, is gone after that. */
#define BUSY_S 10
#define SNAPS_FIRST 16
#define NAME_SIZE 256

int snapshot_list(rbd_image_t image, rbd_snap_info_t **ret_snaps)
{
	int max = SNAPS_FIRST, count;

	*ret_snaps = NULL;
	do {
		*ret_snaps = g_renew(rbd_snap_info_t, *ret_snaps, max);
		count = rbd_snap_list(image, *ret_snaps, &max);
	} while (count == -ERANGE);
	return count;
}

void snapshot_list_free(rbd_snap_info_t *snaps, int count)
{
	if (count >= 0)
		rbd_snap_list_end(snaps);
	g_free(snaps);
}

int snapshot_protect(rbd_image_t image, const char *snap)
{
	int is_protected = 0;
	int rc = rbd_snap_is_protected(image, snap, &is_protected);

	if (rc < 0 || is_protected)
		return rc;
	rc = rbd_snap_protect(image, snap);
	/* Protected by another client meanwhile. */
	return rc == -EBUSY ? 0 : rc;
}

static int remove_once(rbd_image_t image, const char *snap)
{
	int is_protected = 0;
	int rc = rbd_snap_is_protected(image, snap, &is_protected);

	if (rc == 0 && is_protected)
		rc = rbd_snap_unprotect(image, snap);
	/* Unprotected by another client meanwhile. */
	if (rc == 0 || rc == -EINVAL)
		rc = rbd_snap_remove(image, snap);
	return rc == -ENOENT ? 0 : rc;
}

/* Whether the snapshot is one of that name in the trash of its image, where it has another name. */
static bool was_named(rbd_image_t image, uint64_t id, const char *snap)
{
	rbd_snap_namespace_type_t type;
	char name[NAME_SIZE];

	return rbd_snap_get_namespace_type(image, id, &type) == 0 &&
	       type == RBD_SNAP_NAMESPACE_TYPE_TRASH &&
	       rbd_snap_get_trash_namespace(image, id, name, sizeof(name)) == 0 &&
	       g_strcmp0(name, snap) == 0;
}

/* Each removal moves the snapshot to the trash first, where an interrupted one leaves it. A
 * snapshot with clones stays there, busy, until Ceph removes it with the last of them. */
static int remove_from_trash(rbd_image_t image, const char *snap)
{
	rbd_snap_info_t *snaps;
	int count = snapshot_list(image, &snaps), rc = 0;

	for (int i = 0; i < count && rc == 0; i++) {
		if (was_named(image, snaps[i].id, snap))
			rc = rbd_snap_remove_by_id(image, snaps[i].id);
		if (rc == -EBUSY || rc == -ENOENT)
			rc = 0;
	}
	snapshot_list_free(snaps, count);
	return count < 0 ? count : rc;
}

int snapshot_remove(struct server *server, rbd_image_t image, const char *snap)
{
	struct failure_retry retry = {0};
	int rc;

	do
		rc = remove_once(image, snap);
	while (failure_is_retried(server, &retry, rc, BUSY_S));
	return rc < 0 ? rc : remove_from_trash(image, snap);
}

/* Runs `change` on the snapshot that a request names. */
static int change_snapshot(struct server *server, const cJSON *request,
			   int (*change)(struct server *server, rbd_image_t image,
					 const char *snap),
			   GError **error)
{
	struct cluster_image image;
	int rc = cluster_image_open(server, request, CLUSTER_OPEN_CHANGE, &image, error);

	if (rc == 0 && !image.snap)
		rc = failure_set_request(error);
	if (rc == 0) {
		rc = change(server, image.image, image.snap);
		if (rc < 0)
			rc = failure_set(server, error, rc, image.pool, image.title);
	}
	cluster_image_close(&image);
	return rc;
}

static int create_snapshot(struct server *server, rbd_image_t image, const char *snap)
{
	(void)server;
	return rbd_snap_create(image, snap);
}

static int protect_snapshot(struct server *server, rbd_image_t image, const char *snap)
{
	(void)server;
	return snapshot_protect(image, snap);
}

int operation_snap_create(struct server *server, const cJSON *request, cJSON *answer,
			  GError **error)
{
	(void)answer;
	return change_snapshot(server, request, create_snapshot, error);
}

int operation_snap_protect(struct server *server, const cJSON *request, cJSON *answer,
			   GError **error)
{
	(void)answer;
	return change_snapshot(server, request, protect_snapshot, error);
}

int operation_snap_remove(struct server *server, const cJSON *request, cJSON *answer,
			  GError **error)
{
	GError *local = NULL;
	int rc = change_snapshot(server, request, snapshot_remove, &local);

	(void)answer;
	return failure_unless_missing(rc, local, error);
}
