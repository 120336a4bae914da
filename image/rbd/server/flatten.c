/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Detaching a clone from its parent.
 */
#include <errno.h>

#include "image/rbd/server/cluster.h"
#include "image/rbd/server/failure.h"
#include "image/rbd/server/manager.h"
#include "image/rbd/server/operations.h"
#include "image/rbd/server/reply.h"

/* Called in threads of librbd. */
static int report_flattened(uint64_t done, uint64_t total, void *opaque)
{
	struct server *server = opaque;

	reply_progress(server, done, total);
	return atomic_load(&server->closing) ? -ECANCELED : 0;
}

static int flatten_by_client(struct server *server, const cJSON *request, GError **error)
{
	struct cluster_image image;
	int rc = cluster_image_open(server, request, CLUSTER_OPEN_CHANGE, &image, error);

	if (rc == 0) {
		rc = image_has_parent(image.image);
		if (rc > 0)
			rc = rbd_flatten_with_progress(image.image, report_flattened, server);
		if (rc < 0)
			rc = failure_set(server, error, rc, image.pool, image.title);
	}
	cluster_image_close(&image);
	return rc;
}

/* Asks in a new look at the image. */
static int check_flat(struct server *server, const cJSON *request, bool *ret_flat, GError **error)
{
	struct cluster_image image;
	int rc = cluster_image_open(server, request, CLUSTER_OPEN_READ, &image, error);

	if (rc == 0) {
		rc = image_has_parent(image.image);
		*ret_flat = rc == 0;
		if (rc < 0)
			rc = failure_set(server, error, rc, image.pool, image.title);
	}
	cluster_image_close(&image);
	return rc < 0 ? -1 : 0;
}

static int flatten_by_manager(struct server *server, const cJSON *request, GError **error)
{
	const char *pool = rbd_frame_string(request, "pool");
	const char *name = rbd_frame_string(request, "image");
	g_autofree char *title = NULL;
	bool flat = false;

	if (check_flat(server, request, &flat, error) < 0)
		return -1;
	if (flat)
		return 0;
	title = g_strdup_printf("the image %s/%s", pool, name);
	/* The manager would wait for room, with all of its other tasks. */
	if (failure_pool_is_full(server, pool))
		return failure_set(server, error, -EDQUOT, pool, title);
	if (manager_flatten(server, pool, name, title, error) < 0 ||
	    check_flat(server, request, &flat, error) < 0)
		return -1;
	if (flat)
		return 0;
	g_set_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_FAILED,
		    "the manager's task for %s has ended, but the image is not flat: see the "
		    "manager's log",
		    title);
	return -1;
}

int operation_flatten(struct server *server, const cJSON *request, cJSON *answer, GError **error)
{
	(void)answer;
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(request, "by_manager")))
		return flatten_by_manager(server, request, error);
	return flatten_by_client(server, request, error);
}
