/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images in Ceph: the operations, each a request to the child novasnap-rbd.
 */
#include "image/rbd.h"

#include "image/rbd/frame.h"
#include "image/rbd/link.h"

/* How long the child may take to cancel a task of the manager. */
#define TASK_CANCEL_MS 5000

struct image_rbd {
	struct rbd_link *link;
};

struct image_rbd *image_rbd_open(const struct image_rbd_cluster *cluster, const atomic_int *cancel,
				 GError **error)
{
	struct rbd_link *link = rbd_link_open(cluster, cancel, error);
	struct image_rbd *rbd;

	if (!link)
		return NULL;
	rbd = g_new0(struct image_rbd, 1);
	rbd->link = link;
	return rbd;
}

void image_rbd_close(struct image_rbd *rbd)
{
	if (!rbd)
		return;
	rbd_link_close(rbd->link);
	g_free(rbd);
}

const char *image_rbd_fsid(const struct image_rbd *rbd)
{
	return rbd_link_fsid(rbd->link);
}

static cJSON *make_request(const char *op, const char *pool, const char *image, const char *snap)
{
	cJSON *request = cJSON_CreateObject();

	(void)cJSON_AddStringToObject(request, "op", op);
	(void)cJSON_AddStringToObject(request, "pool", pool);
	(void)cJSON_AddStringToObject(request, "image", image);
	if (snap)
		(void)cJSON_AddStringToObject(request, "snap", snap);
	return request;
}

/* Takes ownership of the request. Returns the answer, which the caller frees, or NULL. */
static cJSON *call(struct image_rbd *rbd, cJSON *request, const char *action, GError **error)
{
	if (rbd_link_send(rbd->link, request, action, error) < 0)
		return NULL;
	return rbd_link_answer(rbd->link, NULL, NULL, action, error);
}

/* A request whose answer has no members. */
static int call_simply(struct image_rbd *rbd, cJSON *request, const char *action, GError **error)
{
	cJSON *answer = call(rbd, request, action, error);

	if (!answer)
		return -1;
	cJSON_Delete(answer);
	return 0;
}

void image_rbd_info_clear(struct image_rbd_info *info)
{
	g_free(info->parent_pool);
	g_free(info->parent_image);
	g_free(info->parent_snap);
	*info = (struct image_rbd_info){0};
}

int image_rbd_info_read(struct image_rbd *rbd, const char *pool, const char *image,
			const char *snap, struct image_rbd_info *ret_info, GError **error)
{
	g_autofree char *action = g_strdup_printf("reading about %s/%s%s%s", pool, image,
						  snap ? "@" : "", snap ? snap : "");
	cJSON *answer = call(rbd, make_request("info", pool, image, snap), action, error);
	struct image_rbd_info info = {0};

	*ret_info = info;
	if (!answer)
		return -1;
	if (!rbd_frame_number(answer, "size", G_MAXINT64, &info.size)) {
		cJSON_Delete(answer);
		return rbd_link_fail(rbd->link, action, "it reported no size", error);
	}
	if (cJSON_HasObjectItem(answer, "parent_image")) {
		info.parent_pool = g_strdup(rbd_frame_string(answer, "parent_pool"));
		info.parent_image = g_strdup(rbd_frame_string(answer, "parent_image"));
		info.parent_snap = g_strdup(rbd_frame_string(answer, "parent_snap"));
	}
	cJSON_Delete(answer);
	*ret_info = info;
	return 0;
}

int image_rbd_snap_create(struct image_rbd *rbd, const char *pool, const char *image,
			  const char *snap, GError **error)
{
	g_autofree char *action =
		g_strdup_printf("creating the snapshot %s/%s@%s", pool, image, snap);

	return call_simply(rbd, make_request("snap_create", pool, image, snap), action, error);
}

int image_rbd_snap_protect(struct image_rbd *rbd, const char *pool, const char *image,
			   const char *snap, GError **error)
{
	g_autofree char *action =
		g_strdup_printf("protecting the snapshot %s/%s@%s", pool, image, snap);

	return call_simply(rbd, make_request("snap_protect", pool, image, snap), action, error);
}

int image_rbd_snap_remove(struct image_rbd *rbd, const char *pool, const char *image,
			  const char *snap, GError **error)
{
	g_autofree char *action =
		g_strdup_printf("removing the snapshot %s/%s@%s", pool, image, snap);

	return call_simply(rbd, make_request("snap_remove", pool, image, snap), action, error);
}

int image_rbd_clone(struct image_rbd *rbd, const char *pool, const char *image, const char *snap,
		    const char *to_pool, const char *to_image, GError **error)
{
	g_autofree char *action =
		g_strdup_printf("cloning %s/%s@%s to %s/%s", pool, image, snap, to_pool, to_image);
	cJSON *request = make_request("clone", pool, image, snap);

	(void)cJSON_AddStringToObject(request, "to_pool", to_pool);
	(void)cJSON_AddStringToObject(request, "to_image", to_image);
	return call_simply(rbd, request, action, error);
}

struct progress {
	image_rbd_progress_fn report;
	void *opaque;
};

static void pass_progress(void *opaque, const cJSON *json)
{
	const struct progress *progress = opaque;
	uint64_t done, total;

	if (progress->report && rbd_frame_number(json, "done", G_MAXINT64, &done) &&
	    rbd_frame_number(json, "total", G_MAXINT64, &total))
		progress->report(progress->opaque, MIN(done, total), total);
}

int image_rbd_flatten(struct image_rbd *rbd, const char *pool, const char *image, bool by_manager,
		      image_rbd_progress_fn progress, void *opaque, GError **error)
{
	g_autofree char *action =
		g_strdup_printf("flattening %s/%s%s", pool, image,
				by_manager ? " by the manager (rbd task add flatten)" : "");
	struct progress each = {.report = progress, .opaque = opaque};
	cJSON *request = make_request("flatten", pool, image, NULL), *answer;

	(void)cJSON_AddBoolToObject(request, "by_manager", by_manager);
	if (rbd_link_send(rbd->link, request, action, error) < 0)
		return -1;
	if (by_manager)
		rbd_link_set_grace(rbd->link, TASK_CANCEL_MS);
	answer = rbd_link_answer(rbd->link, pass_progress, &each, action, error);
	rbd_link_set_grace(rbd->link, 0);
	cJSON_Delete(answer);
	return answer ? 0 : -1;
}

int image_rbd_remove_copy(struct image_rbd *rbd, const char *pool, const char *image,
			  GError **error)
{
	g_autofree char *action = g_strdup_printf("removing %s/%s", pool, image);

	return call_simply(rbd, make_request("remove_copy", pool, image, NULL), action, error);
}
