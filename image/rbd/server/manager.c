/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tasks of the cluster's manager: what `ceph rbd task` does.
 */
#include "image/rbd/server/manager.h"

#include <errno.h>
#include <string.h>

#include "image/limits.h"
#include "image/rbd/server/failure.h"
#include "image/rbd/server/reply.h"

#define POLL_US (G_USEC_PER_SEC / 2)
#define PROGRESS_TOTAL 1000000

/* Takes ownership of the command. Returns 0, with its output in *ret_output, or a negative errno
 * value, with the manager's words in *ret_words; the caller frees both. */
static int run_command(struct server *server, cJSON *command, cJSON **ret_output, char **ret_words)
{
	g_autofree char *text = cJSON_PrintUnformatted(command);
	const char *commands[] = {text};
	char *output = NULL, *words = NULL;
	size_t output_length = 0, words_length = 0;
	int rc = rados_mgr_command(server->cluster, commands, 1, "", 0, &output, &output_length,
				   &words, &words_length);

	cJSON_Delete(command);
	/* The time limit is reported with the wrong sign. */
	rc = rc > 0 ? -rc : rc;
	*ret_output = rc == 0 && output ? cJSON_ParseWithLength(output, output_length) : NULL;
	*ret_words = g_strndup(words ? words : "", MIN(words_length, IMAGE_FOREIGN_TEXT_MAX));
	g_strstrip(g_strdelimit(*ret_words, "\r\n", ' '));
	rados_buffer_free(output);
	rados_buffer_free(words);
	return rc;
}

static cJSON *make_command(const char *prefix)
{
	cJSON *command = cJSON_CreateObject();

	(void)cJSON_AddStringToObject(command, "prefix", prefix);
	return command;
}

static int list_tasks(struct server *server, cJSON **ret_tasks)
{
	g_autofree char *words = NULL;
	int rc = run_command(server, make_command("rbd task list"), ret_tasks, &words);

	if (rc == 0 && !cJSON_IsArray(*ret_tasks)) {
		cJSON_Delete(*ret_tasks);
		*ret_tasks = NULL;
		rc = -EBADMSG;
	}
	return rc;
}

static void cancel_task(struct server *server, const char *id)
{
	cJSON *command = make_command("rbd task cancel"), *output = NULL;
	g_autofree char *words = NULL;

	(void)cJSON_AddStringToObject(command, "task_id", id);
	(void)run_command(server, command, &output, &words);
	cJSON_Delete(output);
}

void manager_cancel_tasks(struct server *server, const char *pool, const char *image)
{
	cJSON *tasks = NULL;
	const cJSON *task;

	if (list_tasks(server, &tasks) < 0)
		return;
	cJSON_ArrayForEach (task, tasks) {
		const cJSON *refs = cJSON_GetObjectItemCaseSensitive(task, "refs");
		const char *id = rbd_frame_string(task, "id");

		if (id && g_strcmp0(rbd_frame_string(refs, "pool_name"), pool) == 0 &&
		    g_strcmp0(rbd_frame_string(refs, "image_name"), image) == 0)
			cancel_task(server, id);
	}
	cJSON_Delete(tasks);
}

/* Returns the id of the new task, which the caller frees, or NULL. */
static char *add_task(struct server *server, const char *pool, const char *image, GError **error)
{
	cJSON *command = make_command("rbd task add flatten"), *task = NULL;
	g_autofree char *spec = g_strdup_printf("%s/%s", pool, image);
	g_autofree char *words = NULL;
	char *id;
	int rc;

	(void)cJSON_AddStringToObject(command, "image_spec", spec);
	rc = run_command(server, command, &task, &words);
	id = g_strdup(rbd_frame_string(task, "id"));
	cJSON_Delete(task);
	if (id)
		return id;
	if (rc == -EPERM || rc == -EACCES)
		g_set_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_DENIED,
			    "the manager refuses client.%s (%s): give it the capability mgr "
			    "\"profile rbd\" (ceph auth caps)",
			    server->user, *words ? words : g_strerror(-rc));
	else if (rc == -EINVAL || rc == -EOPNOTSUPP || rc == -ENOSYS || rc == 0)
		g_set_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_UNSUPPORTED,
			    "the manager does not take the task (%s): is its module rbd_support "
			    "enabled?",
			    *words ? words : g_strerror(-rc));
	else
		(void)failure_set(server, error, rc, NULL, "the manager's new task");
	return NULL;
}

/* Returns the task of that id in the list; NULL: it has ended. */
static const cJSON *find_task(const cJSON *tasks, const char *id)
{
	const cJSON *task;

	cJSON_ArrayForEach (task, tasks) {
		if (g_strcmp0(rbd_frame_string(task, "id"), id) == 0)
			return task;
	}
	return NULL;
}

/* What is watched of a task. */
struct watch {
	const char *id;
	const char *title;
	char *before;	  /* the list of tasks at the last change */
	gint64 change_us; /* when the list has changed */
};

/* The manager runs one task after another, so progress of another one is progress, too. Returns
 * whether there was none for too long. */
static bool watch_is_overdue(struct server *server, struct watch *watch, const cJSON *tasks)
{
	g_autofree char *now = cJSON_PrintUnformatted(tasks);

	if (g_strcmp0(now, watch->before) != 0) {
		g_free(watch->before);
		watch->before = g_steal_pointer(&now);
		watch->change_us = g_get_monotonic_time();
	}
	return g_get_monotonic_time() - watch->change_us >
	       (gint64)server->timeout_s * G_USEC_PER_SEC;
}

static void report_task(struct server *server, const cJSON *task)
{
	const cJSON *progress = cJSON_GetObjectItemCaseSensitive(task, "progress");
	double part = cJSON_IsNumber(progress) ? CLAMP(progress->valuedouble, 0, 1) : 0;

	reply_progress(server, (uint64_t)(part * PROGRESS_TOTAL), PROGRESS_TOTAL);
}

/* Looks once. Returns 1 if the task has ended, 0 if it has not, or -1. */
static int look_at_task(struct server *server, struct watch *watch, GError **error)
{
	cJSON *tasks = NULL;
	const cJSON *task;
	const char *retried;
	int rc = list_tasks(server, &tasks);

	if (rc < 0)
		return failure_set(server, error, rc, NULL, "the manager's tasks");
	task = find_task(tasks, watch->id);
	if (!task) {
		rc = 1;
	} else if (watch_is_overdue(server, watch, tasks)) {
		/* The manager tries again and again what has failed. */
		retried = rbd_frame_string(task, "retry_message");
		g_set_error(error, IMAGE_RBD_ERROR,
			    retried ? IMAGE_RBD_ERROR_FAILED : IMAGE_RBD_ERROR_TIMEOUT,
			    "the manager's task for %s makes no progress for %u s%s%s",
			    watch->title, server->timeout_s, retried ? ": " : "",
			    retried ? retried : "");
		rc = -1;
	} else {
		report_task(server, task);
	}
	cJSON_Delete(tasks);
	return rc;
}

int manager_flatten(struct server *server, const char *pool, const char *image, const char *title,
		    GError **error)
{
	g_autofree char *id = add_task(server, pool, image, error);
	struct watch watch = {.id = id, .title = title};
	int rc = 0;

	if (!id)
		return -1;
	while (rc == 0) {
		if (atomic_load(&server->closing))
			rc = failure_set(server, error, -ECANCELED, NULL, title);
		else
			rc = look_at_task(server, &watch, error);
		if (rc == 0)
			g_usleep(POLL_US);
	}
	g_free(watch.before);
	if (rc > 0)
		return 0;
	cancel_task(server, id);
	return -1;
}
