/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The records of images.
 */
#include "image/store/record.h"

/* A double represents all whole numbers up to 2^53, which is slightly more. */
#define SIZE_LIMIT 9e15

void image_record_free(struct image_record *record)
{
	if (!record)
		return;
	g_free(record->id);
	g_free(record->name);
	g_free(record->status);
	g_free(record->disk_format);
	g_free(record->container_format);
	g_free(record->os_hash_algo);
	g_free(record->os_hash_value);
	g_free(record->created_at);
	cJSON_Delete(record->document);
	g_free(record);
}

static char *document_string(const cJSON *document, const char *name)
{
	return g_strdup(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(document, name)));
}

struct image_record *image_record_parse(cJSON *document, GError **error)
{
	const cJSON *size = cJSON_GetObjectItemCaseSensitive(document, "size");
	g_autoptr(image_record_t) record = g_new0(struct image_record, 1);

	record->document = document;
	record->id = document_string(document, "id");
	record->name = document_string(document, "name");
	record->status = document_string(document, "status");
	record->disk_format = document_string(document, "disk_format");
	record->container_format = document_string(document, "container_format");
	record->os_hash_algo = document_string(document, "os_hash_algo");
	record->os_hash_value = document_string(document, "os_hash_value");
	record->created_at = document_string(document, "created_at");
	record->size = -1;
	if (cJSON_IsNumber(size) && size->valuedouble >= 0 && size->valuedouble < SIZE_LIMIT)
		record->size = (int64_t)size->valuedouble;
	if (!record->id || !record->status) {
		g_set_error_literal(
			error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
			"the image store's reply is not an image record: id or status is missing");
		return NULL;
	}
	return g_steal_pointer(&record);
}

int image_record_verify(const struct image_record *record, const struct image_checksum *checksum,
			GError **error)
{
	if (g_strcmp0(record->status, "active") != 0) {
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_MISMATCH,
			    "image %s is %s after the upload, not active", record->id,
			    record->status);
		return -1;
	}
	if (record->size != (int64_t)checksum->size) {
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_MISMATCH,
			    "image %s has %" G_GINT64_FORMAT
			    " bytes in the store, but %" G_GUINT64_FORMAT " were sent",
			    record->id, record->size, checksum->size);
		return -1;
	}
	if (g_strcmp0(record->os_hash_algo, checksum->hash_name) != 0 || !record->os_hash_value) {
		g_message("image %s: the store hashes with %s, not %s, so only the size was "
			  "compared (see [novasnap]hash_algo)",
			  record->id, record->os_hash_algo ? record->os_hash_algo : "nothing",
			  checksum->hash_name);
		return 0;
	}
	if (g_ascii_strcasecmp(record->os_hash_value, checksum->hash) != 0) {
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_MISMATCH,
			    "image %s has %s %.16s... in the store, but %.16s... was sent",
			    record->id, checksum->hash_name, record->os_hash_value, checksum->hash);
		return -1;
	}
	return 0;
}
