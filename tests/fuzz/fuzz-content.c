/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A body with its properties. The first byte picks the compression and the encoding.
 */
#include "rpc/content.h"
#include "rpc/limits.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const compressions[] = {NULL,
						   "application/x-gzip",
						   "application/x-bz2",
						   "application/x-lzma",
						   "application/zstd",
						   "application/x-brotli",
						   "unknown",
						   "gzip"};
	struct fuzz_input input = {data, size};
	uint8_t kind = fuzz_byte(&input);
	const struct delivery delivery = {
		.content_type = kind & 16 ? NULL : "application/json",
		.content_encoding = kind & 8 ? "base64" : NULL,
		.compression = compressions[kind & 7],
		.body = (const char *)input.data,
		.length = input.size,
		.size = input.size,
	};
	struct content content;
	GError *error = NULL;
	cJSON *message = content_decode(&delivery, &content, &error);

	g_assert_true((message == NULL) == (error != NULL));
	g_assert_cmpuint(content.length, <=, RPC_MAX_BODY_BYTES);
	cJSON_Delete(message);
	content_clear(&content);
	g_clear_error(&error);
	return 0;
}
