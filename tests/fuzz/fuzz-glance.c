/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The replies of Glance. The first byte of the input selects the request, and the parts after it
 * are the replies.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/unit/upload.h"

#define IMAGE_ID "71e5a7b0-1730-41f5-afda-ba2a6f00b7f6"
#define SIZE 1000

static void upload_image(struct image_store *store, const struct image_identity *identity,
			 bool resuming)
{
	struct image_source source = {.ops = &zero_source_ops, .size = SIZE};
	struct image_upload upload = {.source = &source, .resuming = resuming};

	(void)image_store_upload(store, identity, IMAGE_ID, &upload, NULL);
}

static void update_image(struct image_store *store, const struct image_identity *identity)
{
	cJSON *properties = cJSON_CreateObject();
	const struct image_meta meta = {.name = "name",
					.disk_format = "qcow2",
					.container_format = "bare",
					.visibility = "private",
					.properties = properties};

	cJSON_AddStringToObject(properties, "a~/b", "c");
	(void)image_store_update(store, identity, IMAGE_ID, &meta, NULL);
	cJSON_Delete(properties);
}

static void list_images(struct image_store *store, const struct image_identity *identity)
{
	static const struct image_property wanted[] = {{"image_type", "back up"}, {NULL, NULL}};
	GPtrArray *images = image_store_list(store, identity, wanted, NULL);

	for (guint i = 0; images && i < images->len; i++) {
		const struct image_record *record = images->pdata[i];

		g_assert_true(record->id && record->status && record->size >= -1);
	}
	if (images)
		g_ptr_array_unref(images);
}

static void get_image(struct image_store *store, const struct image_identity *identity)
{
	struct image_record *record = NULL;
	g_autoptr(GError) error = NULL;
	int rc = image_store_get(store, identity, IMAGE_ID, &record, &error);

	g_assert_true((rc < 0) == (error != NULL));
	if (rc == 0)
		image_record_free(record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const servers[] = {"http://a", "b/v2/", NULL};
	static const struct image_config config = {
		.api_servers = servers, .num_retries = 2, .saving_timeout_s = 3};
	const struct image_identity identity = {.token = "token"};
	struct fuzz_input input = {data, size};
	struct image_store *store = image_store_new(&config, NULL);
	uint8_t kind = fuzz_byte(&input);

	fuzz_answer_from(&input);
	switch (kind) {
	case 'l':
		list_images(store, &identity);
		break;
	case 'p':
		update_image(store, &identity);
		break;
	case 'c':
		g_free(image_store_create(store, &identity, "name", NULL));
		break;
	case 'd':
		(void)image_store_delete(store, &identity, IMAGE_ID, NULL);
		break;
	case 'u':
	case 'a':
		upload_image(store, &identity, kind == 'a');
		break;
	default:
		get_image(store, &identity);
		break;
	}
	image_store_free(store);
	return 0;
}
