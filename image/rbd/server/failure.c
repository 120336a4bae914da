/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errors of librados and librbd.
 */
#include "image/rbd/server/failure.h"

#include <errno.h>
#include <string.h>

#include "image/rbd/server/reply.h"

#define RETRY_MIN_MS 200
#define RETRY_MAX_MS 1000

/* A pool that is only nearly full takes data. */
static bool flags_are_full(const char *flags)
{
	g_auto(GStrv) names = g_strsplit(flags, ",", -1);
	const char *const *all = (const char *const *)names;

	return g_strv_contains(all, "full") || g_strv_contains(all, "full_quota") ||
	       g_strv_contains(all, "full_no_quota");
}

bool failure_pool_is_full(struct server *server, const char *pool)
{
	static const char *const command[] = {"{\"prefix\":\"osd dump\",\"format\":\"json\"}"};
	char *out = NULL;
	size_t length = 0;
	bool full = false;
	cJSON *dump;
	const cJSON *each;

	if (rados_mon_command(server->cluster, (const char **)(uintptr_t)command, 1, "", 0, &out,
			      &length, NULL, NULL) != 0)
		return false;
	dump = cJSON_ParseWithLength(out, length);
	rados_buffer_free(out);
	cJSON_ArrayForEach (each, cJSON_GetObjectItemCaseSensitive(dump, "pools")) {
		const char *flags = rbd_frame_string(each, "flags_names");

		if (g_strcmp0(rbd_frame_string(each, "pool_name"), pool) == 0 && flags)
			full = flags_are_full(flags);
	}
	cJSON_Delete(dump);
	return full;
}

static enum image_rbd_error code_of(int number)
{
	switch (number) {
	case ENOENT:
		return IMAGE_RBD_ERROR_NOT_FOUND;
	case EEXIST:
		return IMAGE_RBD_ERROR_EXISTS;
	case EPERM:
	case EACCES:
		return IMAGE_RBD_ERROR_DENIED;
	case EBUSY:
		return IMAGE_RBD_ERROR_BUSY;
	case ENOSPC:
	case EDQUOT:
		return IMAGE_RBD_ERROR_FULL;
	case EOPNOTSUPP:
	case ENOSYS:
		return IMAGE_RBD_ERROR_UNSUPPORTED;
	case ETIMEDOUT:
		return IMAGE_RBD_ERROR_TIMEOUT;
	case ECANCELED:
		return IMAGE_RBD_ERROR_CANCELLED;
	default:
		return IMAGE_RBD_ERROR_FAILED;
	}
}

int failure_set(struct server *server, GError **error, int rc, const char *pool, const char *object)
{
	enum image_rbd_error code = code_of(-rc);
	const char *reason = g_strerror(-rc);

	/* librados waits for room. */
	if (code == IMAGE_RBD_ERROR_TIMEOUT && pool && failure_pool_is_full(server, pool))
		code = IMAGE_RBD_ERROR_FULL;
	if (code == IMAGE_RBD_ERROR_NOT_FOUND)
		g_set_error(error, IMAGE_RBD_ERROR, code, "%s does not exist", object);
	else if (code == IMAGE_RBD_ERROR_EXISTS)
		g_set_error(error, IMAGE_RBD_ERROR, code, "%s exists already", object);
	else if (code == IMAGE_RBD_ERROR_BUSY)
		g_set_error(error, IMAGE_RBD_ERROR, code, "%s is still in use (%s)", object,
			    reason);
	else if (code == IMAGE_RBD_ERROR_DENIED && pool)
		g_set_error(error, IMAGE_RBD_ERROR, code,
			    "%s: Ceph refuses client.%s (%s): give it the capability \"profile "
			    "rbd\" for the pool %s (ceph auth caps)",
			    object, server->user, reason, pool);
	else if (code == IMAGE_RBD_ERROR_FULL && pool)
		g_set_error(error, IMAGE_RBD_ERROR, code,
			    "%s: the pool %s is full or over its quota (%s): free space, or raise "
			    "the quota (ceph osd pool set-quota)",
			    object, pool, reason);
	else if (code == IMAGE_RBD_ERROR_TIMEOUT)
		g_set_error(error, IMAGE_RBD_ERROR, code,
			    "%s: no answer from Ceph within %u s; check the cluster (ceph status)",
			    object, server->timeout_s);
	else
		g_set_error(error, IMAGE_RBD_ERROR, code, "%s: %s", object, reason);
	return -1;
}

int failure_set_request(GError **error)
{
	g_set_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_FAILED,
		    "novasnap-rbd does not understand the request");
	return -1;
}

int failure_unless_missing(int rc, GError *local, GError **error)
{
	if (g_error_matches(local, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_NOT_FOUND)) {
		g_error_free(local);
		return 0;
	}
	if (local)
		g_propagate_error(error, local);
	return rc;
}

bool failure_is_retried(struct server *server, struct failure_retry *retry, int rc,
			unsigned limit_s)
{
	gint64 now_us = g_get_monotonic_time();

	if (rc != -EBUSY || atomic_load(&server->closing))
		return false;
	if (retry->until_us == 0)
		retry->until_us = now_us + (gint64)limit_s * G_USEC_PER_SEC;
	if (now_us >= retry->until_us)
		return false;
	reply_progress(server, 0, 0);
	g_usleep((gulong)g_random_int_range(RETRY_MIN_MS, RETRY_MAX_MS) * 1000);
	return true;
}
