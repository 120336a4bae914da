/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads an NBD export as novasnapd does, and uploads it to Glance, or only hashes it.
 *   read-nbd SOCKET raw|qcow2 [GLANCE_URL IMAGE_ID]
 * Prints the seconds until the image is active or hashed, and its size in bytes.
 */
#include <stdio.h>
#include <stdlib.h>

#include "image/image.h"
#include "image/source.h"
#include "image/store/pipeline.h"

static void die(const GError *error)
{
	(void)fprintf(stderr, "read-nbd: %s\n", error ? error->message : "unknown error");
	exit(1);
}

static void upload_to_glance(struct image_source *image, const char *url, const char *id)
{
	const char *servers[] = {url, NULL};
	const struct image_config config = {.api_servers = servers,
					    .connect_timeout_s = 10,
					    .request_timeout_s = 60,
					    .stall_timeout_s = 60,
					    .saving_timeout_s = 60};
	struct image_upload upload = {.source = image};
	const struct image_identity identity = {.user_id = "bench", .project_id = "bench"};
	struct image_store *store;
	GError *error = NULL;

	store = image_store_new(&config, &error);
	if (!store || image_store_upload(store, &identity, id, &upload, &error) < 0)
		die(error);
	image_store_free(store);
}

static void hash_only(struct image_source *image)
{
	const struct image_upload upload = {.source = image};
	GError *error = NULL;
	struct pipeline *pipeline = pipeline_start(&upload, &error);

	if (!pipeline || pipeline_drain(pipeline, &error) < 0)
		die(error);
	pipeline_free(pipeline);
}

int main(int argc, char **argv)
{
	struct image_nbd nbd = {.export_name = "", .timeout_s = 60};
	struct image_source *image;
	GError *error = NULL;
	gint64 start_us;

	if (argc != 3 && argc != 5) {
		(void)fprintf(stderr, "usage: read-nbd SOCKET raw|qcow2 [GLANCE_URL IMAGE_ID]\n");
		return 2;
	}
	nbd.socket = argv[1];
	start_us = g_get_monotonic_time();
	image = image_source_new_nbd(&nbd, &error);
	if (!image)
		die(error);
	image = g_str_equal(argv[2], "raw") ? image_source_new_raw(image, &error)
					    : image_source_new_qcow2(image, &error);
	if (!image)
		die(error);
	if (argc == 5)
		upload_to_glance(image, argv[3], argv[4]);
	else
		hash_only(image);
	printf("%.3f %" G_GUINT64_FORMAT "\n",
	       (double)(g_get_monotonic_time() - start_us) / G_USEC_PER_SEC, image->size);
	image_source_free(image);
	return 0;
}
