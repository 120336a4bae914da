/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Decodes the bodies of deliveries.
 */
#include "rpc/content.h"

#include "rpc/decompress.h"
#include "rpc/limits.h"
#include "rpc/rpc.h"

#define JSON_TYPE "application/json"

static bool is_base64(const struct delivery *delivery)
{
	return delivery->content_encoding &&
	       g_ascii_strcasecmp(delivery->content_encoding, "base64") == 0;
}

/* Whether secrets can be found in a body that is not compressed. */
static bool is_text(const struct delivery *delivery)
{
	static const char *const encodings[] = {"utf-8", "utf8", "us-ascii", "ascii", "binary"};
	bool known = !delivery->content_encoding;

	for (size_t i = 0; i < G_N_ELEMENTS(encodings) && !known; i++)
		known = g_ascii_strcasecmp(delivery->content_encoding, encodings[i]) == 0;
	return known &&
	       (!delivery->content_type || g_str_equal(delivery->content_type, JSON_TYPE) ||
		g_str_has_prefix(delivery->content_type, "text/"));
}

static int check_supported(const struct delivery *delivery, GError **error)
{
	if (delivery->compression && !decompress_is_supported(delivery->compression)) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_ENCODING,
			    "its compression is %s, which is not supported", delivery->compression);
		return -1;
	}
	if (delivery->content_type && !g_str_equal(delivery->content_type, JSON_TYPE)) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_ENCODING,
			    "its content type is %s, which is not supported",
			    delivery->content_type);
		return -1;
	}
	if (delivery->size > RPC_MAX_BODY_BYTES) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE,
			    "it has %" G_GUINT64_FORMAT " bytes, over the limit of %zu",
			    delivery->size, RPC_MAX_BODY_BYTES);
		return -1;
	}
	return 0;
}

static void content_take(struct content *content, GByteArray *bytes)
{
	content_clear(content);
	content->bytes = bytes;
	content->text = bytes->len > 0 ? (const char *)bytes->data : "";
	content->length = bytes->len;
}

static void decode_base64(struct content *content)
{
	g_autofree char *text = g_strndup(content->text, content->length);
	gsize length;
	guchar *decoded = g_base64_decode(text, &length);

	content_take(content, g_byte_array_new_take(decoded, length));
}

static int decompress(struct content *content, const char *method, GError **error)
{
	GByteArray *bytes = g_byte_array_new();
	int rc = decompress_body(method, content->text, content->length, RPC_MAX_BODY_BYTES, bytes,
				 error);

	content_take(content, bytes);
	return rc;
}

cJSON *content_decode(const struct delivery *delivery, struct content *ret_content, GError **error)
{
	cJSON *message = NULL;
	bool supported = check_supported(delivery, error) == 0;

	*ret_content = (struct content){.text = delivery->body, .length = delivery->length};
	if (supported && is_base64(delivery))
		decode_base64(ret_content);
	if (supported && delivery->compression)
		supported = decompress(ret_content, delivery->compression, error) == 0;
	if (supported)
		message = rpc_body_decode(ret_content->text, ret_content->length, error);
	/* What was not decoded here is text only if the properties say so. */
	if (!message && !ret_content->bytes && (delivery->compression || !is_text(delivery)))
		ret_content->text = NULL;
	return message;
}

void content_clear(struct content *content)
{
	if (content->bytes)
		g_byte_array_unref(content->bytes);
	*content = (struct content){0};
}
