/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What Glance answers. The first byte says what is asked, the parts after it are the answers.
 */
#include <string.h>

#include "image/image.h"
#include "tests/fuzz/fuzz.h"

#define IMAGE "71e5a7b0-1730-41f5-afda-ba2a6f00b7f6"
#define SIZE 1000

static int read_zeros(struct image_source *source, uint64_t offset, void *buf, size_t len,
		      GError **error)
{
	(void)source;
	(void)offset;
	(void)error;
	memset(buf, 0, len);
	return 0;
}

static void upload(struct image_store *store, const struct image_identity *who, bool again)
{
	static const struct image_source_ops ops = {.read = read_zeros};
	struct image_source source = {&ops, SIZE};
	struct image_upload upload = {.source = &source, .resuming = again};

	(void)image_store_upload(store, who, IMAGE, &upload, NULL);
}

static void update(struct image_store *store, const struct image_identity *who)
{
	cJSON *properties = cJSON_CreateObject();
	const struct image_meta meta = {.name = "name",
					.disk_format = "qcow2",
					.container_format = "bare",
					.visibility = "private",
					.properties = properties};

	cJSON_AddStringToObject(properties, "a~/b", "c");
	(void)image_store_update(store, who, IMAGE, &meta, NULL);
	cJSON_Delete(properties);
}

static void list(struct image_store *store, const struct image_identity *who)
{
	static const struct image_property wanted[] = {{"image_type", "back up"}, {NULL, NULL}};
	GPtrArray *images = image_store_list(store, who, wanted, NULL);

	for (guint i = 0; images && i < images->len; i++) {
		const struct image_record *record = images->pdata[i];

		g_assert_true(record->id && record->status && record->size >= -1);
	}
	if (images)
		g_ptr_array_unref(images);
}

static void get(struct image_store *store, const struct image_identity *who)
{
	struct image_record *record = NULL;
	g_autoptr(GError) error = NULL;
	int rc = image_store_get(store, who, IMAGE, &record, &error);

	g_assert_true((rc < 0) == (error != NULL));
	if (rc == 0)
		image_record_free(record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const servers[] = {"http://a", "b/v2/", NULL};
	static const struct image_config config = {
		.api_servers = servers, .num_retries = 2, .saving_timeout_s = 3};
	const struct image_identity who = {.token = "token"};
	struct fuzz_input input = {data, size};
	struct image_store *store = image_store_new(&config, NULL);
	uint8_t what = fuzz_byte(&input);

	fuzz_answer_from(&input);
	switch (what) {
	case 'l':
		list(store, &who);
		break;
	case 'p':
		update(store, &who);
		break;
	case 'c':
		g_free(image_store_create(store, &who, "name", NULL));
		break;
	case 'd':
		(void)image_store_delete(store, &who, IMAGE, NULL);
		break;
	case 'u':
	case 'a':
		upload(store, &who, what == 'a');
		break;
	default:
		get(store, &who);
		break;
	}
	image_store_free(store);
	return 0;
}
