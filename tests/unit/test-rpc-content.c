/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The properties of a delivery and its body: each compression of kombu is decoded, malformed and
 * oversized data is an error, and what cannot be read is kept without its body.
 */
#include <brotli/encode.h>
#include <bzlib.h>
#include <glib/gstdio.h>
#include <lzma.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "rpc/content.h"
#include "rpc/json.h"
#include "rpc/limits.h"
#include "rpc/rejected.h"

#define MESSAGE "{\"method\": \"m\", \"args\": {\"text\": \"\xc3\xbc\"}}"

static GByteArray *room_for(size_t length)
{
	GByteArray *bytes = g_byte_array_new();

	g_byte_array_set_size(bytes, (guint)(length + length / 2 + 4096));
	return bytes;
}

static GByteArray *pack_zlib(const char *text, size_t length)
{
	GByteArray *bytes = room_for(length);
	uLongf size = bytes->len;

	g_assert_cmpint(compress(bytes->data, &size, (const Bytef *)text, length), ==, Z_OK);
	return g_byte_array_set_size(bytes, (guint)size);
}

static GByteArray *pack_gzip(const char *text, size_t length)
{
	GByteArray *bytes = room_for(length);
	z_stream stream = {.next_in = (Bytef *)text,
			   .avail_in = (uInt)length,
			   .next_out = bytes->data,
			   .avail_out = bytes->len};

	g_assert_cmpint(deflateInit2(&stream, 6, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY),
			==, Z_OK);
	g_assert_cmpint(deflate(&stream, Z_FINISH), ==, Z_STREAM_END);
	g_byte_array_set_size(bytes, (guint)stream.total_out);
	deflateEnd(&stream);
	return bytes;
}

static GByteArray *pack_bzip2(const char *text, size_t length)
{
	GByteArray *bytes = room_for(length);
	unsigned size = bytes->len;

	g_assert_cmpint(BZ2_bzBuffToBuffCompress((char *)bytes->data, &size, (char *)text,
						 (unsigned)length, 9, 0, 0),
			==, BZ_OK);
	return g_byte_array_set_size(bytes, size);
}

static GByteArray *pack_lzma(const char *text, size_t length)
{
	GByteArray *bytes = room_for(length);
	size_t size = 0;

	g_assert_cmpint(lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, NULL, (const uint8_t *)text,
						length, bytes->data, &size, bytes->len),
			==, LZMA_OK);
	return g_byte_array_set_size(bytes, (guint)size);
}

static GByteArray *pack_zstd(const char *text, size_t length)
{
	GByteArray *bytes = room_for(length);
	size_t size = ZSTD_compress(bytes->data, bytes->len, text, length, 3);

	g_assert_false(ZSTD_isError(size));
	return g_byte_array_set_size(bytes, (guint)size);
}

static GByteArray *pack_brotli(const char *text, size_t length)
{
	GByteArray *bytes = room_for(length);
	size_t size = bytes->len;

	g_assert_true(BrotliEncoderCompress(5, BROTLI_DEFAULT_WINDOW, BROTLI_MODE_TEXT, length,
					    (const uint8_t *)text, &size, bytes->data));
	return g_byte_array_set_size(bytes, (guint)size);
}

static const struct {
	const char *method;
	GByteArray *(*pack)(const char *text, size_t length);
} methods[] = {
	{"application/x-gzip", pack_zlib}, {"gzip", pack_gzip},
	{"application/x-bz2", pack_bzip2}, {"application/x-lzma", pack_lzma},
	{"application/zstd", pack_zstd},   {"application/x-brotli", pack_brotli},
};

static struct delivery delivery_of(const void *body, size_t length)
{
	return (struct delivery){.content_type = "application/json",
				 .content_encoding = "utf-8",
				 .body = body,
				 .length = length,
				 .size = length};
}

/* Expects the message, or an error of that code whose text contains `why`. The caller frees the
 * readable text, which is NULL if there is none. */
static char *decode(const struct delivery *delivery, int code, const char *why)
{
	struct content content;
	GError *error = NULL;
	cJSON *message = content_decode(delivery, &content, &error);
	char *text = content.text ? g_strndup(content.text, content.length) : NULL;

	g_assert_cmpuint(content.length, <=, RPC_MAX_BODY_BYTES);
	if (why) {
		g_assert_null(message);
		g_assert_error(error, RPC_ERROR, code);
		g_test_message("%s", error->message);
		g_assert_nonnull(strstr(error->message, why));
		g_error_free(error);
	} else {
		g_assert_no_error(error);
		g_assert_cmpstr(json_string(message, "method"), ==, "m");
		cJSON_Delete(message);
	}
	content_clear(&content);
	return text;
}

static void test_compressions(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(methods); i++) {
		g_autoptr(GByteArray) packed = methods[i].pack(MESSAGE, strlen(MESSAGE));
		struct delivery delivery = delivery_of(packed->data, packed->len);
		g_autofree char *text = NULL;
		g_autofree char *encoded = NULL;

		g_test_message("%s", methods[i].method);
		delivery.compression = methods[i].method;
		delivery.content_encoding = "binary";
		text = decode(&delivery, 0, NULL);
		g_assert_cmpstr(text, ==, MESSAGE);
		/* In base64. */
		encoded = g_base64_encode(packed->data, packed->len);
		delivery.body = encoded;
		delivery.length = delivery.size = strlen(encoded);
		delivery.content_encoding = "base64";
		g_free(decode(&delivery, 0, NULL));
	}
}

/* A body that is cut, or of which a bit is wrong, is an error, or still the message. */
static void test_damaged(void)
{
	g_autofree char *padding = g_strnfill(5000, ' ');
	g_autofree char *message = g_strconcat(MESSAGE, padding, MESSAGE, NULL);

	for (size_t i = 0; i < G_N_ELEMENTS(methods); i++) {
		g_autoptr(GByteArray) packed = methods[i].pack(message, strlen(message));

		for (guint length = 0; length < packed->len; length++) {
			struct delivery delivery = delivery_of(packed->data, length);
			struct content content;
			g_autoptr(GError) error = NULL;

			delivery.compression = methods[i].method;
			g_assert_null(content_decode(&delivery, &content, &error));
			g_assert_error(error, RPC_ERROR, RPC_ERROR_DECODE);
			g_assert_nonnull(content.text);
			content_clear(&content);
		}
		for (guint bit = 0; bit < packed->len * 8; bit++) {
			struct delivery delivery = delivery_of(packed->data, packed->len);
			struct content content;
			g_autoptr(GError) error = NULL;

			packed->data[bit / 8] ^= (guint8)(1U << bit % 8);
			delivery.compression = methods[i].method;
			cJSON_Delete(content_decode(&delivery, &content, &error));
			content_clear(&content);
			packed->data[bit / 8] ^= (guint8)(1U << bit % 8);
		}
	}
}

/* The text that is decoded before the error can be searched for secrets. */
static void test_text_before_the_error(void)
{
	g_autofree char *padding = g_strnfill(3000000, 'x');
	g_autofree char *message = g_strconcat("{\"method\": \"", padding, NULL);
	g_autoptr(GByteArray) packed = pack_zlib(message, strlen(message));
	struct delivery delivery = delivery_of(packed->data, packed->len - 8);
	g_autofree char *text = NULL;

	delivery.compression = "application/x-gzip";
	text = decode(&delivery, RPC_ERROR_DECODE, "truncated");
	g_assert_true(g_str_has_prefix(text, "{\"method\": \"xxxx"));
}

static void test_too_large(void)
{
	size_t length = RPC_MAX_BODY_BYTES + 1;
	g_autofree char *padding = g_strnfill(4 * length - strlen(MESSAGE), ' ');
	g_autofree char *spaces = g_strconcat(MESSAGE, padding, NULL);

	for (size_t i = 0; i < G_N_ELEMENTS(methods); i++) {
		g_autoptr(GByteArray) fits = methods[i].pack(spaces, length - 1);
		g_autoptr(GByteArray) more = methods[i].pack(spaces, length);
		g_autoptr(GByteArray) far_more = methods[i].pack(spaces, 4 * length);
		struct delivery deliveries[] = {delivery_of(fits->data, fits->len),
						delivery_of(more->data, more->len),
						delivery_of(far_more->data, far_more->len)};

		for (size_t j = 0; j < G_N_ELEMENTS(deliveries); j++) {
			deliveries[j].compression = methods[i].method;
			g_assert_cmpuint(deliveries[j].size, <, 100000);
			g_free(decode(&deliveries[j], RPC_ERROR_DECODE,
				      j == 0 ? NULL : "over the limit of 16777216"));
		}
	}
}

static void test_unsupported(void)
{
	static const struct {
		const char *content_type, *content_encoding, *compression;
		bool has_text;
		const char *why; /* NULL: the message is decoded */
	} cases[] = {
		{NULL, NULL, NULL, true, NULL},
		{"application/json", "binary", NULL, true, NULL},
		/* kombu decodes JSON as UTF-8 in any case. */
		{"application/json", "latin-1", NULL, true, NULL},
		{"text/plain", "utf-8", NULL, true, "content type is text/plain"},
		{"application/x-python-serialize", "binary", NULL, false, "x-python-serialize"},
		{"application/x-msgpack", NULL, NULL, false, "x-msgpack"},
		{"application/json", "utf-8", "application/x-other", false, "x-other"},
		{"application/json", "utf-8", "(not a string)", false, "(not a string)"},
		{"application/json", "utf-8", "GZIP", false, "GZIP"},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct delivery delivery = delivery_of(MESSAGE, strlen(MESSAGE));
		g_autofree char *text = NULL;

		delivery.content_type = cases[i].content_type;
		delivery.content_encoding = cases[i].content_encoding;
		delivery.compression = cases[i].compression;
		text = decode(&delivery, RPC_ERROR_ENCODING, cases[i].why);
		g_assert_true((text != NULL) == cases[i].has_text);
	}
}

/* Secrets cannot be found in a body of another character set. */
static void test_other_characters(void)
{
	struct delivery delivery = delivery_of("{\0\"\0", 4);

	delivery.content_encoding = "utf-16";
	g_assert_null(decode(&delivery, RPC_ERROR_DECODE, "UTF-8"));
}

static void test_too_long(void)
{
	struct delivery delivery = delivery_of(MESSAGE, strlen(MESSAGE));
	g_autofree char *text = NULL;

	delivery.size = RPC_MAX_BODY_BYTES + 1;
	text = decode(&delivery, RPC_ERROR_DECODE, "over the limit");
	g_assert_nonnull(text);
	delivery.compression = "gzip";
	g_assert_null(decode(&delivery, RPC_ERROR_DECODE, "over the limit"));
}

static amqp_table_entry_t text_entry(const char *name, const char *text)
{
	amqp_table_entry_t entry = {.key = amqp_cstring_bytes(name)};

	entry.value.kind = AMQP_FIELD_KIND_UTF8;
	entry.value.value.bytes = amqp_cstring_bytes(text);
	return entry;
}

static void test_properties(void)
{
	amqp_table_entry_t number = {.key = amqp_cstring_bytes("compression")};
	amqp_table_entry_t none = number;
	amqp_table_entry_t lists[][2] = {
		{text_entry("x-death", "1"), text_entry("compression", "application/x-gzip")},
		{text_entry("compression", "a\n\xffz"), text_entry("Compression", "gzip")},
		{text_entry("compression", "gzip"), text_entry("compression", "bzip2")},
		{text_entry("compression", ""), text_entry("other", "")},
		{number, text_entry("other", "")},
		{none, text_entry("other", "")},
	};
	static const char *const expected[] = {"application/x-gzip", "a??z", "bzip2", NULL,
					       "(not a string)",     NULL};
	struct delivery_assembler assembler = {0};

	lists[4][0].value.kind = AMQP_FIELD_KIND_I32;
	lists[5][0].value.kind = AMQP_FIELD_KIND_VOID;
	for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
		amqp_basic_properties_t properties = {
			._flags = AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_CONTENT_TYPE_FLAG,
			.content_type = amqp_cstring_bytes("application/json"),
			.content_encoding = amqp_cstring_bytes("not set"),
			.headers = {.num_entries = 2, .entries = lists[i]},
		};
		amqp_frame_t header = {.frame_type = AMQP_FRAME_HEADER};
		struct delivery delivery;

		header.payload.properties.decoded = &properties;
		delivery_begin(&assembler, i, amqp_cstring_bytes("q"));
		g_assert_cmpint(delivery_add_frame(&assembler, &header, NULL), ==, 1);
		delivery = delivery_describe(&assembler, 0, 0);
		g_assert_cmpstr(delivery.compression, ==, expected[i]);
		g_assert_cmpstr(delivery.content_type, ==, "application/json");
		g_assert_null(delivery.content_encoding);
	}
	delivery_reset(&assembler);
}

/* Of an unreadable message only the properties are kept; the summary tells both kinds apart. */
static void test_kept_unreadable(void)
{
	g_autofree char *folder = g_dir_make_tmp("novasnap-content-XXXXXX", NULL);
	struct rpc_config config = {
		.rejected_dir = folder, .rejected_max_files = 9, .rejected_max_bytes = 100000};
	struct delivery delivery = delivery_of("SECRET", 6);
	struct rpc_rejected_summary summary;
	g_autoptr(GDir) dir = NULL;
	const char *name;

	rpc_rejected_summarize("/nonexistent", &summary);
	g_assert_cmpuint(summary.readable + summary.unreadable, ==, 0);
	delivery.compression = "application/x-other";
	rejected_keep(&config, "{\"unreadable\": 1}", 17, "one");
	rejected_keep_unreadable(&config, &delivery, "two: \"unreadable\"");
	rejected_keep(&config, "x", 1, "three");
	rpc_rejected_summarize(folder, &summary);
	g_assert_cmpuint(summary.readable, ==, 2);
	g_assert_cmpuint(summary.unreadable, ==, 1);
	g_assert_cmpstr(summary.readable_reason, ==, "three");
	g_assert_cmpstr(summary.unreadable_reason, ==, "two: \"unreadable\"");
	rpc_rejected_summary_clear(&summary);

	dir = g_dir_open(folder, 0, NULL);
	while ((name = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(folder, name, NULL);
		g_autofree char *content = NULL;

		g_assert_true(g_file_get_contents(path, &content, NULL, NULL));
		g_assert_null(strstr(content, "SECRET"));
		if (g_str_has_prefix(content, "# two"))
			g_assert_nonnull(strstr(content, "application/x-other\",\"bytes\":6"));
		g_unlink(path);
	}
	g_rmdir(folder);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/rpc/content/compressions", test_compressions);
	g_test_add_func("/rpc/content/damaged", test_damaged);
	g_test_add_func("/rpc/content/text-before-the-error", test_text_before_the_error);
	g_test_add_func("/rpc/content/too-large", test_too_large);
	g_test_add_func("/rpc/content/unsupported", test_unsupported);
	g_test_add_func("/rpc/content/other-characters", test_other_characters);
	g_test_add_func("/rpc/content/too-long", test_too_long);
	g_test_add_func("/rpc/content/properties", test_properties);
	g_test_add_func("/rpc/content/kept-unreadable", test_kept_unreadable);
	return g_test_run();
}
