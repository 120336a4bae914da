/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The records of images in Glance.
 */
#include "image/store/glance-image.h"

#include "image/store/glance-client.h"
#include "image/store/record.h"

int glance_image_get(void *self, const struct image_identity *identity, const char *id,
		     struct image_record **ret_record, GError **error)
{
	struct glance_request request = {.identity = identity, .method = "GET", .image_id = id};
	struct http_reply reply = {0};

	*ret_record = NULL;
	if (glance_request_send(self, &request, &reply, error) == 0)
		*ret_record = image_record_parse(http_reply_parse(&reply), error);
	http_reply_clear(&reply);
	return *ret_record ? 0 : -1;
}

/* Returns the JSON pointer (RFC 6901) of a member of the record. */
static char *json_pointer(const char *name)
{
	g_autoptr(GString) pointer = g_string_new("/");

	for (; *name; name++) {
		if (*name == '~')
			g_string_append(pointer, "~0");
		else if (*name == '/')
			g_string_append(pointer, "~1");
		else
			g_string_append_c(pointer, *name);
	}
	return g_strdup(pointer->str);
}

/* Adds an operation to the patch unless the record already has this value. */
static void patch_set_string(cJSON *patch, const cJSON *record, const char *name, const char *value)
{
	const cJSON *present = cJSON_GetObjectItemCaseSensitive(record, name);
	g_autofree char *pointer = json_pointer(name);
	cJSON *operation;

	if (!value || g_strcmp0(cJSON_GetStringValue(present), value) == 0)
		return;
	operation = cJSON_CreateObject();
	cJSON_AddStringToObject(operation, "op", present ? "replace" : "add");
	cJSON_AddStringToObject(operation, "path", pointer);
	cJSON_AddStringToObject(operation, "value", value);
	cJSON_AddItemToArray(patch, operation);
}

static cJSON *make_patch(const cJSON *record, const struct image_meta *meta)
{
	cJSON *patch = cJSON_CreateArray();
	const cJSON *property;

	patch_set_string(patch, record, "name", meta->name);
	patch_set_string(patch, record, "disk_format", meta->disk_format);
	patch_set_string(patch, record, "container_format", meta->container_format);
	patch_set_string(patch, record, "visibility", meta->visibility);
	cJSON_ArrayForEach (property, meta->properties)
		patch_set_string(patch, record, property->string, cJSON_GetStringValue(property));
	return patch;
}

int glance_image_update(void *self, const struct image_identity *identity, const char *id,
			const struct image_meta *meta, GError **error)
{
	struct glance_request request = {.identity = identity,
					 .method = "PATCH",
					 .image_id = id,
					 .content_type = GLANCE_PATCH_CONTENT_TYPE};
	g_autoptr(image_record_t) record = NULL;
	struct http_reply reply = {0};
	cJSON *patch;
	char *body;
	int rc = 0;

	if (glance_image_get(self, identity, id, &record, error) < 0)
		return -1;
	patch = make_patch(record->document, meta);
	if (cJSON_GetArraySize(patch) > 0) {
		body = cJSON_PrintUnformatted(patch);
		request.body = body;
		rc = glance_request_send(self, &request, &reply, error);
		cJSON_free(body);
		http_reply_clear(&reply);
	}
	cJSON_Delete(patch);
	return rc;
}

int glance_image_delete(void *self, const struct image_identity *identity, const char *id,
			GError **error)
{
	struct glance_request request = {.identity = identity, .method = "DELETE", .image_id = id};
	struct http_reply reply = {0};
	int rc = glance_request_send(self, &request, &reply, error);

	http_reply_clear(&reply);
	return rc;
}

char *glance_image_create(void *self, const struct image_identity *identity, const char *name,
			  GError **error)
{
	struct glance_request request = {
		.identity = identity, .method = "POST", .content_type = "application/json"};
	g_autoptr(image_record_t) record = NULL;
	struct http_reply reply = {0};
	cJSON *document = cJSON_CreateObject();
	char *body;

	cJSON_AddStringToObject(document, "name", name);
	body = cJSON_PrintUnformatted(document);
	request.body = body;
	if (glance_request_send(self, &request, &reply, error) == 0)
		record = image_record_parse(http_reply_parse(&reply), error);
	http_reply_clear(&reply);
	cJSON_free(body);
	cJSON_Delete(document);
	return record ? g_strdup(record->id) : NULL;
}
