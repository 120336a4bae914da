/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lists of images in Glance.
 */
#include "image/store/glance-list.h"

#include <string.h>

#include "image/limits.h"
#include "image/store/glance-client.h"
#include "image/store/record.h"

#define IMAGES_PER_PAGE 100

static char *first_query(const struct image_property *wanted)
{
	g_autoptr(GString) query = g_string_new("?limit=" G_STRINGIFY(IMAGES_PER_PAGE));

	for (; wanted->name; wanted++) {
		g_autofree char *value = g_uri_escape_string(wanted->value, NULL, FALSE);

		g_string_append_printf(query, "&%s=%s", wanted->name, value);
	}
	return g_strdup(query->str);
}

/* Adds the records of a page. `*ret_query` is the query of the next page, which the caller frees;
 * NULL: this is the last page. */
static int parse_page(GPtrArray *records, const struct http_reply *reply, char **ret_query,
		      GError **error)
{
	cJSON *page = http_reply_parse(reply);
	cJSON *images = cJSON_GetObjectItemCaseSensitive(page, "images");
	const char *next = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(page, "next"));
	int rc = cJSON_IsArray(images) ? 0 : -1;

	*ret_query = g_strdup(next ? strchr(next, '?') : NULL);
	if (rc < 0)
		g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
				    "Glance's reply is not a list of images");
	while (rc == 0 && images->child) {
		struct image_record *record = image_record_parse(
			cJSON_DetachItemViaPointer(images, images->child), error);

		if (record)
			g_ptr_array_add(records, record);
		else
			rc = -1;
	}
	cJSON_Delete(page);
	return rc;
}

/* Adds a page, and its size in bytes to `*size`. `*query` is the page's query, and afterwards the
 * next one's. */
static int fetch_page(struct glance_client *client, const struct image_identity *identity,
		      char **query, GPtrArray *records, size_t *size, GError **error)
{
	g_autofree char *suffix = g_steal_pointer(query);
	struct glance_request request = {
		.identity = identity, .method = "GET", .url_suffix = suffix};
	struct http_reply reply = {0};
	int rc = glance_request_send(client, &request, &reply, error);

	if (rc == 0) {
		*size += reply.body->len;
		rc = parse_page(records, &reply, query, error);
	}
	http_reply_clear(&reply);
	return rc;
}

int glance_image_list(void *self, const struct image_identity *identity,
		      const struct image_property *wanted, GPtrArray *records, GError **error)
{
	g_autofree char *query = first_query(wanted);
	size_t size = 0;

	for (unsigned pages = 0; query && pages < GLANCE_LIST_PAGES_MAX; pages++) {
		if (fetch_page(self, identity, &query, records, &size, error) < 0)
			return -1;
		if (size > GLANCE_LIST_SIZE_MAX) {
			g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_FAILED,
				    "Glance's list of images has more than %zu bytes",
				    GLANCE_LIST_SIZE_MAX);
			return -1;
		}
	}
	return 0;
}
