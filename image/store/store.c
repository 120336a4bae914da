/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The store that the configuration names, and what is common to all stores.
 */
#include <curl/curl.h>
#include <pthread.h>
#include <string.h>

#include "image/internal.h"

G_DEFINE_QUARK(novasnap - image - error - quark, image_error)
G_DEFINE_QUARK(novasnap - image - source - error - quark, image_source_error)

struct image_store {
	const struct image_store_ops *ops;
	void *self;
	struct pace *pace; /* NULL: none */
};

static void curl_init(void)
{
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct image_store *image_store_new(const struct image_config *config, GError **error)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct image_store *store = g_new0(struct image_store, 1);

	(void)pthread_once(&once, curl_init);
	store->ops = config->directory ? &directory_store_ops : &glance_store_ops;
	store->self = store->ops->open(config, error);
	if (!store->self) {
		g_free(store);
		return NULL;
	}
	store->pace = pace_new(config->upload_bytes_per_second);
	return store;
}

void image_store_free(struct image_store *store)
{
	if (!store)
		return;
	store->ops->close(store->self);
	pace_free(store->pace);
	g_free(store);
}

/* An id becomes part of a URL or of a path: it is a uuid or nothing. */
static bool check_id(const char *id, GError **error)
{
	if (g_uuid_string_is_valid(id))
		return true;
	g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED, "\"%.64s\" is no image id: no uuid",
		    id);
	return false;
}

int image_store_get(struct image_store *store, const struct image_identity *who, const char *id,
		    struct image_record **ret_record, GError **error)
{
	return check_id(id, error) ? store->ops->get(store->self, who, id, ret_record, error) : -1;
}

int image_store_update(struct image_store *store, const struct image_identity *who, const char *id,
		       const struct image_meta *meta, GError **error)
{
	return check_id(id, error) ? store->ops->update(store->self, who, id, meta, error) : -1;
}

int image_store_upload(struct image_store *store, const struct image_identity *who, const char *id,
		       struct image_upload *upload, GError **error)
{
	upload->hash[0] = '\0';
	upload->hash_name = pipeline_hash_name(upload);
	upload->pace = store->pace;
	upload->sent = 0;
	upload->attempts = 0;
	return check_id(id, error) ? store->ops->upload(store->self, who, id, upload, error) : -1;
}

GPtrArray *image_store_list(struct image_store *store, const struct image_identity *who,
			    const struct image_property *wanted, GError **error)
{
	GPtrArray *records = g_ptr_array_new_with_free_func((GDestroyNotify)image_record_free);

	if (store->ops->list(store->self, who, wanted, records, error) == 0)
		return records;
	g_ptr_array_unref(records);
	return NULL;
}

int image_store_delete(struct image_store *store, const struct image_identity *who, const char *id,
		       GError **error)
{
	return check_id(id, error) ? store->ops->remove(store->self, who, id, error) : -1;
}

char *image_store_create(struct image_store *store, const struct image_identity *who,
			 const char *name, GError **error)
{
	return store->ops->create(store->self, who, name, error);
}

char *image_store_location(struct image_store *store)
{
	return store->ops->location(store->self);
}

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

static char *copy_text(const cJSON *document, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(document, name);

	return cJSON_IsString(item) ? g_strdup(item->valuestring) : NULL;
}

struct image_record *image_record_parse(cJSON *document, GError **error)
{
	const cJSON *size = cJSON_GetObjectItemCaseSensitive(document, "size");
	g_autoptr(image_record_t) record = g_new0(struct image_record, 1);

	record->document = document;
	record->id = copy_text(document, "id");
	record->name = copy_text(document, "name");
	record->status = copy_text(document, "status");
	record->disk_format = copy_text(document, "disk_format");
	record->container_format = copy_text(document, "container_format");
	record->os_hash_algo = copy_text(document, "os_hash_algo");
	record->os_hash_value = copy_text(document, "os_hash_value");
	record->created_at = copy_text(document, "created_at");
	record->size = -1;
	if (cJSON_IsNumber(size) && size->valuedouble >= 0 && size->valuedouble < 9e15)
		record->size = (int64_t)size->valuedouble;
	if (!record->id || !record->status) {
		g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
				    "the image store's answer is no image record");
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
			    " bytes in the store, %" G_GUINT64_FORMAT " were sent",
			    record->id, record->size, checksum->size);
		return -1;
	}
	if (g_strcmp0(record->os_hash_algo, checksum->hash_name) != 0 || !record->os_hash_value) {
		g_message("image %s: the store hashes with %s, not %s, so its size alone was "
			  "compared ([novasnap]hash_algo)",
			  record->id, record->os_hash_algo ? record->os_hash_algo : "nothing",
			  checksum->hash_name);
		return 0;
	}
	if (g_ascii_strcasecmp(record->os_hash_value, checksum->hash) != 0) {
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_MISMATCH,
			    "image %s has %s %.16s... in the store, %.16s... was sent", record->id,
			    checksum->hash_name, record->os_hash_value, checksum->hash);
		return -1;
	}
	return 0;
}
