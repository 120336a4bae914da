/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The callbacks of the directory store. They ignore the identity: every process with write access
 * to the folder may change all images.
 */
#include "image/store/directory.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "image/store/directory-file.h"
#include "image/store/directory-record.h"
#include "image/store/directory-upload.h"
#include "image/store/record.h"

/* `self` is the path of the folder. */
static void *directory_open(const struct image_config *config, GError **error)
{
	if (g_mkdir_with_parents(config->images_dir, 0755) == 0 &&
	    access(config->images_dir, W_OK | X_OK) == 0)
		return g_strdup(config->images_dir);
	(void)directory_file_set_error(error, "opening the image folder", config->images_dir);
	if (error && *error)
		(*error)->code = IMAGE_ERROR_CONFIG;
	return NULL;
}

static void directory_close(void *self)
{
	g_free(self);
}

static char *directory_location(void *self)
{
	return g_strdup(self);
}

static int directory_get(void *self, const struct image_identity *identity, const char *id,
			 struct image_record **ret_record, GError **error)
{
	cJSON *document = directory_record_read(self, id, error);

	(void)identity;
	if (!document)
		return -1;
	*ret_record = image_record_parse(document, error);
	return *ret_record ? 0 : -1;
}

static int directory_update(void *self, const struct image_identity *identity, const char *id,
			    const struct image_meta *meta, GError **error)
{
	g_autoptr(GError) local = NULL;
	cJSON *record = directory_record_read(self, id, &local);
	const cJSON *property;
	int rc;

	(void)identity;
	if (!record && !g_error_matches(local, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND)) {
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	if (!record)
		record = directory_record_new(id);
	directory_record_set(record, "name", meta->name);
	directory_record_set(record, "disk_format", meta->disk_format);
	directory_record_set(record, "container_format", meta->container_format);
	directory_record_set(record, "visibility", meta->visibility);
	cJSON_ArrayForEach (property, meta->properties)
		directory_record_set(record, property->string, cJSON_GetStringValue(property));
	directory_record_set_time(record, "updated_at");
	rc = directory_record_write(self, id, record, error);
	cJSON_Delete(record);
	return rc;
}

static int directory_upload(void *self, const struct image_identity *identity, const char *id,
			    struct image_upload *upload, GError **error)
{
	(void)identity;
	return directory_image_upload(self, id, upload, error);
}

static bool has_properties(const cJSON *record, const struct image_property *wanted)
{
	for (; wanted->name; wanted++) {
		const char *value = cJSON_GetStringValue(
			cJSON_GetObjectItemCaseSensitive(record, wanted->name));

		if (g_strcmp0(value, wanted->value) != 0)
			return false;
	}
	return true;
}

/* Returns the record in the file `name`, if it is a record with these properties. A file that
 * cannot be read is skipped: it may have been deleted meanwhile. */
static struct image_record *matching_record(const char *folder, const char *name,
					    const struct image_property *wanted)
{
	g_autofree char *id = g_strdup(name);
	cJSON *document;

	if (!g_str_has_suffix(id, DIRECTORY_RECORD_SUFFIX))
		return NULL;
	id[strlen(id) - strlen(DIRECTORY_RECORD_SUFFIX)] = '\0';
	if (!g_uuid_string_is_valid(id))
		return NULL;
	document = directory_record_read(folder, id, NULL);
	if (document && has_properties(document, wanted))
		return image_record_parse(document, NULL);
	cJSON_Delete(document);
	return NULL;
}

static int directory_list(void *self, const struct image_identity *identity,
			  const struct image_property *wanted, GPtrArray *records, GError **error)
{
	g_autoptr(GDir) dir = g_dir_open(self, 0, error);
	const char *name;

	(void)identity;
	if (!dir)
		return -1;
	while ((name = g_dir_read_name(dir))) {
		struct image_record *record = matching_record(self, name, wanted);

		if (record)
			g_ptr_array_add(records, record);
	}
	return 0;
}

/* Deletes the image before its record, so that a failed deletion can be repeated. */
static int directory_remove(void *self, const struct image_identity *identity, const char *id,
			    GError **error)
{
	g_autofree char *record_path = directory_file_path(self, id, DIRECTORY_RECORD_SUFFIX);
	g_autofree char *image_path = directory_file_path(self, id, "");

	(void)identity;
	if (directory_part_remove(image_path, error) < 0 ||
	    directory_part_remove(record_path, error) < 0)
		return -1;
	if (g_unlink(image_path) < 0 && errno != ENOENT)
		return directory_file_set_error(error, "deleting", image_path);
	if (g_unlink(record_path) < 0)
		return directory_file_set_error(error, "deleting", record_path);
	return 0;
}

static char *directory_create(void *self, const struct image_identity *identity, const char *name,
			      GError **error)
{
	g_autofree char *id = g_uuid_string_random();
	cJSON *record = directory_record_new(id);
	int rc;

	(void)identity;
	directory_record_set(record, "name", name);
	rc = directory_record_write(self, id, record, error);
	cJSON_Delete(record);
	return rc == 0 ? g_steal_pointer(&id) : NULL;
}

static enum image_location_result directory_add_location(void *self,
							 const struct image_identity *identity,
							 const char *id, const char *url,
							 const atomic_int *cancel, GError **error)
{
	(void)self;
	(void)identity;
	(void)cancel;
	g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_FORBIDDEN,
		    "a folder of images takes no locations: image %s cannot get %s", id, url);
	return IMAGE_LOCATION_REFUSED;
}

static enum image_location_answer directory_has_location(void *self,
							 const struct image_identity *identity,
							 const char *id, const char *url,
							 GError **error)
{
	(void)self;
	(void)identity;
	(void)id;
	(void)url;
	(void)error;
	return IMAGE_LOCATION_UNUSED;
}

const struct image_store_ops directory_store_ops = {
	.open = directory_open,
	.close = directory_close,
	.location = directory_location,
	.get = directory_get,
	.update = directory_update,
	.upload = directory_upload,
	.list = directory_list,
	.remove = directory_remove,
	.create = directory_create,
	.add_location = directory_add_location,
	.has_location = directory_has_location,
};
