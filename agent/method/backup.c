/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * backup_instance: a snapshot, and then the oldest of its kind go (nova.compute.manager
 * backup_instance and _rotate_backups).
 */
#include "agent/task/task.h"

#define STATE_BACKUP "image_backup"

/* Glance's times are whole seconds: the image that was just made is before any other of its own. */
static gint newest_first(gconstpointer a, gconstpointer b, gpointer made)
{
	const struct image_record *one = *(struct image_record *const *)a;
	const struct image_record *other = *(struct image_record *const *)b;

	if (g_strcmp0(one->id, made) == 0)
		return -1;
	if (g_strcmp0(other->id, made) == 0)
		return 1;
	return g_strcmp0(other->created_at, one->created_at);
}

int backup_rotate(struct task *task, const char *backup_type, int rotation, GError **error)
{
	const char *uuid = nova_instance_uuid(task->instance);
	const struct image_property wanted[] = {
		{"image_type", "backup"},
		{"backup_type", backup_type},
		{"instance_uuid", uuid},
		{NULL, NULL},
	};
	struct image_store *store = task->manager->store;
	g_autoptr(GPtrArray) images = image_store_list(store, &task->identity, wanted, error);

	if (!images)
		return -1;
	g_ptr_array_sort_with_data(images, newest_first, (gpointer)task->image_id);
	for (guint i = images->len; i > (guint)MAX(rotation, 0); i--) {
		const struct image_record *image = images->pdata[i - 1];
		g_autoptr(GError) local = NULL;

		if (task_step_begin(task, "rotate", NULL, &local) == 0 &&
		    image_store_delete(store, &task->identity, image->id, &local) == 0 &&
		    task_step_end(task, "rotate", &local) == 0)
			g_message("instance %s: backup %s of %s is rotated out", uuid, image->id,
				  image->created_at);
		else
			g_message("instance %s: backup %s cannot be deleted, the others are: %s",
				  uuid, image->id, local->message);
	}
	return 0;
}

static int run(struct task *task, GError **error)
{
	/* When the instance or the image went away meanwhile, nova rotates all the same, which
	 * leaves one backup fewer than was asked for: not here. */
	if (snapshot_instance_steps(task, STATE_BACKUP, error) < 0)
		return -1;
	task->keep_image = true;
	task->step = "rotating the backups";
	return backup_rotate(task, task_arg_string(task, "backup_type"),
			     task_arg_int(task, "rotation", 1), error);
}

static int check(const cJSON *args, GError **error)
{
	if (cJSON_IsString(cJSON_GetObjectItemCaseSensitive(args, "backup_type")) &&
	    task_is_rotation(cJSON_GetObjectItemCaseSensitive(args, "rotation")))
		return 0;
	g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
			    "a backup needs the arguments backup_type, a text, and rotation, a "
			    "whole number that is not negative");
	return -1;
}

const struct task_method method_backup_instance = {
	.name = "backup_instance",
	.event = "compute_backup_instance",
	.flags = TASK_EVENT | TASK_FAULT | TASK_IMAGE | TASK_GONE_IS_NO_FAILURE,
	.states = "image_backup,image_pending_upload,image_uploading",
	.run = run,
	.check = check,
};
