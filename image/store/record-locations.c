/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The locations in the records of images. Glance shows `locations` if its show_multiple_locations
 * is on and `direct_url` if its show_image_direct_url is on. To a user who may not see them it
 * shows an empty list.
 */
#include "image/image.h"

/* Glance's id of the task that works on the image. */
#define TASK_PROPERTY "os_glance_import_task"

static const char *member_string(const cJSON *object, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

static bool is_in_store(const cJSON *location, const char *store)
{
	const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(location, "metadata");

	return store && g_strcmp0(member_string(metadata, "store"), store) == 0;
}

char **image_record_locations(const struct image_record *record, const char *preferred)
{
	const cJSON *locations = cJSON_GetObjectItemCaseSensitive(record->document, "locations");
	const char *direct_url = member_string(record->document, "direct_url");
	GPtrArray *urls = g_ptr_array_new();
	const cJSON *location;

	for (int pass = 0; pass < 2; pass++) {
		cJSON_ArrayForEach (location, locations) {
			const char *url = member_string(location, "url");

			if (url && is_in_store(location, preferred) == (pass == 0))
				g_ptr_array_add(urls, g_strdup(url));
		}
	}
	if (direct_url)
		g_ptr_array_add(urls, g_strdup(direct_url));
	g_ptr_array_add(urls, NULL);
	return (char **)g_ptr_array_free(urls, FALSE);
}

/* direct_url is one location of perhaps several, so it proves only that the image has it. */
bool image_record_may_have_location(const struct image_record *record, const char *url,
				    bool *ret_is_certain)
{
	const cJSON *locations = cJSON_GetObjectItemCaseSensitive(record->document, "locations");
	g_auto(GStrv) shown = image_record_locations(record, NULL);
	bool is_shown = g_strv_contains((const char *const *)shown, url);

	*ret_is_certain = is_shown || cJSON_GetArraySize(locations) > 0;
	return is_shown || !*ret_is_certain;
}

int image_record_verify_location(const struct image_record *record, const char *url, uint64_t size,
				 GError **error)
{
	bool is_certain;

	if (g_strcmp0(record->status, "active") != 0)
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_MISMATCH,
			    "image %s is %s with its location, not active", record->id,
			    record->status);
	else if (record->size != (int64_t)size)
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_MISMATCH,
			    "image %s has %" G_GINT64_FORMAT " bytes in the store, but %s has "
			    "%" G_GUINT64_FORMAT,
			    record->id, record->size, url, size);
	else if (!image_record_may_have_location(record, url, &is_certain))
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_MISMATCH,
			    "image %s is elsewhere in the store, not at %s", record->id, url);
	else
		return 0;
	return -1;
}

bool image_record_is_importing(const struct image_record *record)
{
	return g_strcmp0(record->status, "importing") == 0 ||
	       (g_strcmp0(record->status, "queued") == 0 &&
		member_string(record->document, TASK_PROPERTY));
}
