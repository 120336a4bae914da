/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A copied message has each property of the original, and shares no memory with it: its encoding
 * on the wire is the same after the original is overwritten.
 */
#include <glib.h>
#include <string.h>

#include "rpc/amqp/forward-publish.h"
#include "rpc/amqp/raw-message.h"

#define ENCODED_MAX 4096

static amqp_bytes_t encode(amqp_basic_properties_t *properties, char *buffer)
{
	amqp_bytes_t encoded = {ENCODED_MAX, buffer};
	int length = amqp_encode_properties(AMQP_BASIC_CLASS, properties, encoded);

	g_assert_cmpint(length, >, 0);
	encoded.len = (size_t)length;
	return encoded;
}

static void set_text(amqp_table_entry_t *entry, const char *key, const char *text)
{
	entry->key = amqp_cstring_bytes(key);
	entry->value.kind = AMQP_FIELD_KIND_UTF8;
	entry->value.value.bytes = amqp_cstring_bytes(text);
}

static void test_every_property(void)
{
	amqp_table_entry_t inner[2], headers[5];
	amqp_field_value_t items[1] = {{.kind = AMQP_FIELD_KIND_I64, .value.i64 = INT64_MIN}};
	char before[ENCODED_MAX], after[ENCODED_MAX];
	amqp_basic_properties_t properties = {
		._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_CONTENT_ENCODING_FLAG |
			  AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG |
			  AMQP_BASIC_PRIORITY_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG |
			  AMQP_BASIC_REPLY_TO_FLAG | AMQP_BASIC_EXPIRATION_FLAG |
			  AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_TIMESTAMP_FLAG |
			  AMQP_BASIC_TYPE_FLAG | AMQP_BASIC_USER_ID_FLAG | AMQP_BASIC_APP_ID_FLAG |
			  AMQP_BASIC_CLUSTER_ID_FLAG,
		.content_type = amqp_cstring_bytes("application/json"),
		.content_encoding = amqp_cstring_bytes("utf-8"),
		.headers = {G_N_ELEMENTS(headers), headers},
		.delivery_mode = 2,
		.priority = 9,
		.correlation_id = amqp_cstring_bytes("correlation"),
		.reply_to = amqp_cstring_bytes("reply"),
		.expiration = amqp_cstring_bytes("60000"),
		.message_id = amqp_cstring_bytes(""),
		.timestamp = UINT64_MAX,
		.type = amqp_cstring_bytes("type"),
		.user_id = amqp_cstring_bytes("user"),
		.app_id = amqp_cstring_bytes("app"),
		.cluster_id = amqp_cstring_bytes("cluster"),
	};
	struct raw_message *message;
	amqp_bytes_t original, copied;

	set_text(&inner[0], "nested", "text");
	set_text(&inner[1], "", "nested");
	set_text(&headers[0], "compression", "");
	headers[1].key = amqp_cstring_bytes("table");
	headers[1].value.kind = AMQP_FIELD_KIND_TABLE;
	headers[1].value.value.table = (amqp_table_t){G_N_ELEMENTS(inner), inner};
	headers[2].key = amqp_cstring_bytes("array");
	headers[2].value.kind = AMQP_FIELD_KIND_ARRAY;
	headers[2].value.value.array = (amqp_array_t){G_N_ELEMENTS(items), items};
	headers[3].key = amqp_cstring_bytes("none");
	headers[3].value.kind = AMQP_FIELD_KIND_VOID;
	set_text(&headers[4], "", "no name");
	original = encode(&properties, before);

	message = raw_message_new(&properties);
	g_assert_true(message->is_whole);
	memset(inner, 0xff, sizeof(inner));
	memset(headers, 0xff, sizeof(headers));
	memset(items, 0xff, sizeof(items));
	memset(&properties, 0xff, sizeof(properties));
	copied = encode(&message->properties, after);
	g_assert_cmpmem(copied.bytes, copied.len, original.bytes, original.len);
	raw_message_free(message);
}

/* Without its flag a member has no meaning, and may point anywhere. */
static void test_no_property(void)
{
	amqp_basic_properties_t properties;
	struct raw_message *message, *copy;
	char body[] = "a\0b", buffer[ENCODED_MAX];

	memset(&properties, 0xff, sizeof(properties));
	properties._flags = 0;
	message = raw_message_new(&properties);
	g_assert_true(message->is_whole);
	g_assert_null(message->body);
	copy = raw_message_copy(message, body, 3);
	raw_message_free(message);
	memset(body, 0xff, sizeof(body));
	g_assert_cmpmem(copy->body, copy->length, "a\0b", 3);
	g_assert_cmpuint(copy->properties._flags, ==, 0);
	g_assert_cmpuint(encode(&copy->properties, buffer).len, ==, 2);
	raw_message_free(copy);
	raw_message_free(NULL);
}

static void check_copy_with_text(size_t length)
{
	amqp_table_entry_t headers[2];
	amqp_basic_properties_t properties = {
		._flags = AMQP_BASIC_HEADERS_FLAG,
		.headers = {G_N_ELEMENTS(headers), headers},
	};
	g_autofree char *text = g_strnfill(length, 'x');
	struct raw_message *message;
	const amqp_table_t *copied;

	set_text(&headers[0], "text", text);
	headers[1].key = amqp_cstring_bytes("number");
	headers[1].value.kind = AMQP_FIELD_KIND_I32;
	headers[1].value.value.i32 = 7;
	message = raw_message_new(&properties);
	g_assert_true(message->is_whole);
	copied = &message->properties.headers;
	g_assert_cmpint(copied->num_entries, ==, 2);
	g_assert_cmpmem(copied->entries[0].value.value.bytes.bytes,
			copied->entries[0].value.value.bytes.len, text, length);
	g_assert_cmpint(copied->entries[1].value.value.i32, ==, 7);
	raw_message_free(message);
}

/* The buffer that is too small ends at each byte of what follows the text. */
static void test_headers_of_any_size(void)
{
	for (size_t length = 450; length < 520; length++)
		check_copy_with_text(length);
	check_copy_with_text((size_t)200 * 1024);
}

/* The broker moves such a message instead. */
static void test_headers_that_cannot_be_copied(void)
{
	amqp_table_entry_t headers[1] = {{.value.kind = '?'}};
	amqp_basic_properties_t properties = {
		._flags = AMQP_BASIC_HEADERS_FLAG,
		.headers = {G_N_ELEMENTS(headers), headers},
	};
	struct raw_message *message, *copy;

	headers[0].key = amqp_cstring_bytes("key");
	message = raw_message_new(&properties);
	g_assert_false(message->is_whole);
	copy = raw_message_copy(message, "body", 4);
	raw_message_free(message);
	g_assert_false(copy->is_whole);
	g_assert_cmpint(copy->properties.headers.num_entries, ==, 0);
	g_assert_nonnull(forward_find_obstacle(copy, "user"));
	raw_message_free(copy);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/raw-message/every-property", test_every_property);
	g_test_add_func("/raw-message/no-property", test_no_property);
	g_test_add_func("/raw-message/headers-of-any-size", test_headers_of_any_size);
	g_test_add_func("/raw-message/headers-that-cannot-be-copied",
			test_headers_that_cannot_be_copied);
	return g_test_run();
}
