/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes the data of an image to a directory store.
 */
#include "image/store/directory-upload.h"

#include <unistd.h>

#include "image/file-io.h"
#include "image/source/zeros.h"
#include "image/store/directory-file.h"
#include "image/store/directory-record.h"
#include "image/store/pipeline.h"

#define READ_SIZE ((size_t)1024 * 1024)
#define HOLE_SIZE ((size_t)64 * 1024)

/* Writes all blocks that are not zeros. The others remain holes, because the file was empty. */
static int write_sparse(int fd, const char *data, size_t length, uint64_t offset)
{
	while (length > 0) {
		size_t block = MIN(length, HOLE_SIZE);

		if (!image_is_zeros(data, block) && image_file_write(fd, data, block, offset) < 0)
			return -1;
		data += block;
		offset += block;
		length -= block;
	}
	return 0;
}

static void report_bytes_written(const struct image_upload *upload, uint64_t bytes)
{
	if (upload->progress)
		upload->progress(upload->opaque, bytes, upload->source->size);
}

/* Copies all bytes to the part file and sets the upload's `hash` and `sent`. */
static int copy_pipeline(struct directory_part *part, struct pipeline *pipeline,
			 struct image_upload *upload, GError **error)
{
	g_autofree char *buffer = g_malloc(READ_SIZE);
	uint64_t done = 0;
	ssize_t got;

	report_bytes_written(upload, 0);
	while ((got = pipeline_read(pipeline, buffer, READ_SIZE, error)) > 0) {
		if (write_sparse(part->fd, buffer, (size_t)got, done) < 0)
			return directory_file_set_error(error, "writing", part->part_path);
		done += (uint64_t)got;
		report_bytes_written(upload, done);
	}
	if (got < 0)
		return -1;
	/* The image may end with a hole. */
	if (ftruncate(part->fd, (off_t)upload->source->size) < 0)
		return directory_file_set_error(error, "setting the size of", part->part_path);
	g_strlcpy(upload->hash, pipeline_hash(pipeline), sizeof(upload->hash));
	upload->sent = done;
	return 0;
}

static int copy_source(struct directory_part *part, struct image_upload *upload, GError **error)
{
	struct pipeline *pipeline = pipeline_start(upload, error);
	int rc = pipeline ? copy_pipeline(part, pipeline, upload, error) : -1;

	pipeline_free(pipeline);
	return rc;
}

static int write_image(const char *folder, const char *id, struct image_upload *upload,
		       GError **error)
{
	g_autofree char *path = directory_file_path(folder, id, "");
	struct directory_part part;

	if (directory_part_create(&part, path, error) < 0)
		return -1;
	if (copy_source(&part, upload, error) < 0) {
		directory_part_discard(&part);
		return -1;
	}
	return directory_part_commit(&part, error);
}

static int activate_record(const char *folder, const char *id, cJSON *record,
			   const struct image_upload *upload, GError **error)
{
	directory_record_set(record, "status", "active");
	directory_record_set(record, "os_hash_algo", upload->hash_name);
	directory_record_set(record, "os_hash_value", upload->hash);
	cJSON_DeleteItemFromObjectCaseSensitive(record, "size");
	cJSON_AddNumberToObject(record, "size", (double)upload->sent);
	directory_record_set_time(record, "updated_at");
	return directory_record_write(folder, id, record, error);
}

int directory_image_upload(const char *folder, const char *id, struct image_upload *upload,
			   GError **error)
{
	cJSON *record = directory_record_read(folder, id, error);
	const char *status =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, "status"));
	int rc = -1;

	if (!record)
		return -1;
	if (g_strcmp0(status, "active") == 0) {
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_CONFLICT,
			    "image %s is already active and accepts no data", id);
	} else {
		upload->attempts = 1;
		rc = write_image(folder, id, upload, error);
	}
	if (rc == 0)
		rc = activate_record(folder, id, record, upload, error);
	upload->verified = rc == 0;
	cJSON_Delete(record);
	return rc;
}
