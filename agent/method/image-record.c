/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See image-record.h. The job's thread changes the instance meanwhile, so this one does not read
 * it.
 */
#include "agent/method/image-record.h"

#include <pthread.h>

#include "agent/task/log-context.h"
#include "agent/task/thread.h"

struct image_record_writer {
	struct task *task;
	char *base_id; /* the instance's base image; NULL: it has none */
	struct image_meta meta;
	cJSON *properties; /* of meta */

	bool has_thread;
	pthread_t thread;
	/* The results, to be read after the thread's end. */
	char *hash_algo;
	GError *error;
};

/* The record of a new image names its algorithm only once the image is active. */
static char *read_hash_algo(const struct image_record_writer *writer)
{
	const struct task *task = writer->task;
	g_autoptr(image_record_t) record = NULL;

	if (!writer->base_id || image_store_get(task->agent->store, &task->identity,
						writer->base_id, &record, NULL) < 0)
		return NULL;
	return g_strdup(record->os_hash_algo);
}

static void *writer_main(void *opaque)
{
	struct image_record_writer *writer = opaque;

	log_context_set(writer->task);
	if (!writer->hash_algo)
		writer->hash_algo = read_hash_algo(writer);
	(void)image_metadata_save(writer->task, &writer->meta, &writer->error);
	return NULL;
}

struct image_record_writer *image_record_writer_start(struct task *task,
						      const struct image_base *base,
						      const char *name, const char *disk_format,
						      const char *hash_algo)
{
	struct image_record_writer *writer = g_new0(struct image_record_writer, 1);
	const char *configured = task->agent->config->hash_algo;
	const char *base_id = nova_instance_string(task->instance, "image_ref");

	writer->task = task;
	writer->hash_algo = g_strdup(configured ? configured : hash_algo);
	if (base_id && g_uuid_string_is_valid(base_id))
		writer->base_id = g_strdup(base_id);
	writer->properties = image_metadata_build(task, base, name, disk_format, &writer->meta);
	writer->has_thread =
		thread_start(&writer->thread, THREAD_STACK_SIZE, writer_main, writer) == 0;
	if (!writer->has_thread)
		(void)writer_main(writer);
	return writer;
}

static void wait_thread(struct image_record_writer *writer)
{
	if (writer->has_thread)
		pthread_join(writer->thread, NULL);
	writer->has_thread = false;
}

int image_record_writer_end(struct image_record_writer *writer, char **ret_hash_algo,
			    GError **error)
{
	int rc = 0;

	wait_thread(writer);
	/* Announcing the snapshot may have taken long: the store may answer again. */
	if (g_error_matches(writer->error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE)) {
		g_clear_error(&writer->error);
		(void)writer_main(writer);
	}
	*ret_hash_algo = g_steal_pointer(&writer->hash_algo);
	if (writer->error) {
		g_propagate_error(error, g_steal_pointer(&writer->error));
		rc = -1;
	}
	image_record_writer_free(writer);
	return rc;
}

void image_record_writer_free(struct image_record_writer *writer)
{
	wait_thread(writer);
	cJSON_Delete(writer->properties);
	g_clear_error(&writer->error);
	g_free(writer->hash_algo);
	g_free(writer->base_id);
	g_free(writer);
}
