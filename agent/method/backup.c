/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * backup_instance: takes a snapshot, then deletes the oldest backups of the same type
 * (nova.compute.manager backup_instance and _rotate_backups).
 */
#include "agent/method/backup.h"

#include "agent/method/methods.h"
#include "agent/method/snapshot-instance.h"
#include "agent/task/args.h"
#include "agent/task/step.h"

#define STATE_BACKUP "image_backup"
#define STATE_PENDING_UPLOAD "image_pending_upload"

/* Glance's times are whole seconds: among images of the same second, the image just created is the
 * newest. */
static gint compare_newest_first(gconstpointer a, gconstpointer b, gpointer made)
{
	const struct image_record *one = *(struct image_record *const *)a;
	const struct image_record *other = *(struct image_record *const *)b;

	if (g_strcmp0(one->id, made) == 0)
		return -1;
	if (g_strcmp0(other->id, made) == 0)
		return 1;
	return g_strcmp0(other->created_at, one->created_at);
}

static const struct image_record *find_image(const GPtrArray *images, const char *id)
{
	for (guint i = 0; i < images->len; i++) {
		const struct image_record *image = images->pdata[i];

		if (g_str_equal(image->id, id))
			return image;
	}
	return NULL;
}

/* Leaves out the backups that were requested after the one just made: nova accepts them as soon as
 * the task state is cleared. They wait for this task, and rotate the backups themselves. */
static void remove_later_backups(GPtrArray *images, const char *made_id)
{
	const struct image_record *made = find_image(images, made_id);
	guint i = 0;

	while (made && i < images->len) {
		const struct image_record *image = images->pdata[i];
		int order = g_strcmp0(image->created_at, made->created_at);
		bool has_data = g_str_equal(image->status, "active");

		if (image != made && (order > 0 || (order == 0 && !has_data)))
			(void)g_ptr_array_remove_index_fast(images, i);
		else
			i++;
	}
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
	struct image_store *store = task->agent->store;
	g_autoptr(GPtrArray) images = NULL;

	if (task_state_image(task->state) != TASK_IMAGE_KEPT) {
		g_warning("instance %s: backup rotation: image %s is not verified: deleting no "
			  "older backup",
			  uuid, task->image_id);
		return 0;
	}
	task->step = "rotating the backups";
	images = image_store_list(store, &task->identity, wanted, error);
	if (!images)
		return -1;
	remove_later_backups(images, task->image_id);
	g_ptr_array_sort_with_data(images, compare_newest_first, (gpointer)task->image_id);
	for (guint i = images->len; i > (guint)MAX(rotation, 0); i--) {
		const struct image_record *image = images->pdata[i - 1];
		g_autoptr(GError) local = NULL;

		if (task_step_begin(task, "rotate", NULL, &local) == 0 &&
		    image_store_delete(store, &task->identity, image->id, &local) == 0 &&
		    task_step_end(task, "rotate", &local) == 0)
			g_message("instance %s: backup rotation: deleting backup %s of %s", uuid,
				  image->id, image->created_at);
		else
			g_message("instance %s: backup rotation: cannot delete backup %s: %s; "
				  "continuing",
				  uuid, image->id, local->message);
	}
	return 0;
}

static int run_backup(struct task *task, GError **error)
{
	/* If the instance or the image is gone, nova still rotates, which leaves one backup fewer
	 * than requested. novasnap does not rotate then. */
	if (snapshot_instance_steps(task, STATE_BACKUP, false, error) < 0)
		return -1;
	return backup_rotate(task, task_arg_string(task, "backup_type"),
			     task_arg_int(task, "rotation", 1), error);
}

static int check_backup_args(const cJSON *args, GError **error)
{
	if (cJSON_IsString(cJSON_GetObjectItemCaseSensitive(args, "backup_type")) &&
	    task_arg_is_rotation(cJSON_GetObjectItemCaseSensitive(args, "rotation")))
		return 0;
	g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
			    "a backup needs the arguments backup_type, a string, and rotation, a "
			    "non-negative whole number");
	return -1;
}

const struct task_method method_backup_instance = {
	.name = "backup_instance",
	.event = "compute_backup_instance",
	.flags = METHOD_HAS_EVENT | METHOD_HAS_FAULT | METHOD_HAS_IMAGE | METHOD_TOLERATES_GONE,
	.task_states = "image_backup,image_pending_upload,image_uploading",
	.claim_state = STATE_PENDING_UPLOAD,
	.claim_expected = STATE_BACKUP,
	.run = run_backup,
	.check_args = check_backup_args,
};
