/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The records of a directory store.
 */
#include "image/store/directory-record.h"

#include <string.h>

#include "image/file-io.h"
#include "image/image.h"
#include "image/store/directory-file.h"

cJSON *directory_record_new(const char *id)
{
	cJSON *record = cJSON_CreateObject();

	cJSON_AddStringToObject(record, "id", id);
	cJSON_AddStringToObject(record, "status", "queued");
	directory_record_set_time(record, "created_at");
	return record;
}

cJSON *directory_record_read(const char *folder, const char *id, GError **error)
{
	g_autofree char *path = directory_file_path(folder, id, DIRECTORY_RECORD_SUFFIX);
	g_autofree char *text = NULL;
	g_autoptr(GError) local = NULL;
	cJSON *record;

	if (!g_file_get_contents(path, &text, NULL, &local)) {
		g_set_error(error, IMAGE_ERROR,
			    g_error_matches(local, G_FILE_ERROR, G_FILE_ERROR_NOENT)
				    ? IMAGE_ERROR_NOT_FOUND
				    : IMAGE_ERROR_FAILED,
			    "image %s: %s", id, local->message);
		return NULL;
	}
	record = cJSON_Parse(text);
	if (!record)
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED, "%s is not JSON", path);
	return record;
}

int directory_record_write(const char *folder, const char *id, const cJSON *record, GError **error)
{
	g_autofree char *path = directory_file_path(folder, id, DIRECTORY_RECORD_SUFFIX);
	struct directory_part part;
	char *text;
	int rc;

	if (directory_part_create(&part, path, error) < 0)
		return -1;
	text = cJSON_Print(record);
	rc = image_file_write(part.fd, text, strlen(text), 0);
	cJSON_free(text);
	if (rc < 0) {
		(void)directory_file_set_error(error, "writing", part.part_path);
		directory_part_discard(&part);
		return -1;
	}
	return directory_part_commit(&part, error);
}

void directory_record_set(cJSON *record, const char *name, const char *value)
{
	if (!value)
		return;
	cJSON_DeleteItemFromObjectCaseSensitive(record, name);
	cJSON_AddStringToObject(record, name, value);
}

void directory_record_set_time(cJSON *record, const char *name)
{
	g_autoptr(GDateTime) now = g_date_time_new_now_utc();
	g_autofree char *text = g_date_time_format(now, "%Y-%m-%dT%H:%M:%SZ");

	directory_record_set(record, name, text);
}
