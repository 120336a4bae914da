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

int snapshot_remove(struct server *server, rbd_image_t image, const char *snap)
{
	struct failure_retry retry = {0};
	int rc;

	do
		rc = remove_once(image, snap);
	while (failure_is_retried(server, &retry, rc, BUSY_S));
	return rc;
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
