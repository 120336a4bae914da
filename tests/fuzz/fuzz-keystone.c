/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The replies of Keystone, a token and its catalogue, and after them those of the services that it
 * names.
 */
#include "image/cinder.h"
#include "image/openstack/keystone.h"
#include "tests/fuzz/fuzz.h"

#define SNAPSHOT_ID "71e5a7b0-1730-41f5-afda-ba2a6f00b7f6"

static const struct image_config config = {
	.region_name = NULL,
	.auth = {.method = KEYSTONE_PASSWORD,
		 .auth_url = "http://keystone/v3/",
		 .username = "nova",
		 .project_name = "service"},
	.service = {.method = KEYSTONE_PASSWORD, .auth_url = "http://keystone", .username = "nova"},
	.send_service_user_token = true,
};

static void request_token(void)
{
	static const struct keystone_endpoint wanted[] = {
		{"image", "internal", NULL},
		{"image", "public", "RegionOne"},
		{"volumev3", "public", NULL},
	};
	struct keystone_client *client = keystone_client_new(&config.auth, &config);
	g_autofree char *token = keystone_client_token(client, false, NULL, NULL);

	if (token)
		g_free(keystone_client_token(client, true, NULL, NULL));
	for (size_t i = 0; token && i < G_N_ELEMENTS(wanted); i++) {
		g_autoptr(GError) error = NULL;
		g_autofree char *url = keystone_client_endpoint(client, &wanted[i], NULL, &error);

		g_assert_true((url == NULL) == (error != NULL));
	}
	keystone_client_free(client);
}

static void request_snapshot(const struct image_identity *identity)
{
	static const struct cinder_config cinder = {.catalog_info = "volumev3::publicURL"};
	struct cinder_service *service = cinder_service_new(&cinder, &config);

	g_free(cinder_snapshot_status(service, identity, SNAPSHOT_ID, NULL));
	(void)cinder_snapshot_update(service, identity, SNAPSHOT_ID, "creating", NULL);
	cinder_service_free(service);
}

static void request_image(const struct image_identity *identity)
{
	struct image_store *store = image_store_new(&config, NULL);
	struct image_record *record = NULL;

	g_free(image_store_location(store));
	if (image_store_get(store, identity, SNAPSHOT_ID, &record, NULL) == 0)
		image_record_free(record);
	image_store_free(store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct image_identity identity = {.token = "token", .project_id = "project"};
	struct fuzz_input input = {data, size};

	fuzz_answer_from(&input);
	request_token();
	fuzz_answer_from(&input);
	request_snapshot(&identity);
	fuzz_answer_from(&input);
	request_image(&identity);
	return 0;
}
