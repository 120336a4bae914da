/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What json_parse accepts and refuses, and that values are passed on without a loss.
 */
#include "rpc/json.h"
#include "rpc/rpc.h"

#include <math.h>
#include <string.h>

/* Parses a copy that ends where the text ends, so that a sanitizer notices a read past the end. */
static cJSON *parse_bytes(const char *text, size_t length, GError **error)
{
	g_autofree char *exact = g_memdup2(text, length ? length : 1);

	return json_parse(exact, length, error);
}

static cJSON *parse(const char *text)
{
	GError *error = NULL;
	cJSON *value = parse_bytes(text, strlen(text), &error);

	g_assert_no_error(error);
	g_assert_nonnull(value);
	return value;
}

static void assert_kept_as(const char *text, const char *expected)
{
	cJSON *value = parse(text);
	char *printed = json_print(value);

	g_assert_cmpstr(printed, ==, expected);
	cJSON_free(printed);
	cJSON_Delete(value);
}

static void assert_kept(const char *text)
{
	assert_kept_as(text, text);
}

static void assert_refused_bytes(const char *text, size_t length, const char *message_part)
{
	GError *error = NULL;
	cJSON *value = parse_bytes(text, length, &error);

	g_assert_null(value);
	g_assert_error(error, RPC_ERROR, RPC_ERROR_DECODE);
	if (!strstr(error->message, message_part))
		g_error("the error \"%s\" does not contain \"%s\"", error->message, message_part);
	g_error_free(error);
}

static void assert_refused(const char *text, const char *message_part)
{
	assert_refused_bytes(text, strlen(text), message_part);
}

static void test_numbers_kept(void)
{
	static const char *const numbers[] = {
		"0",
		"-1",
		"1.0",
		"-0",
		"-0.0",
		"0.1",
		"1.5",
		"100.00",
		"1e3",
		"1E+3",
		"1e-7",
		"2147483648",
		"9007199254740993",
		"999999999999999",
		"1000000000000000",
		"123456789012345678901",
		"-123456789012345678901234567890",
		"1e999",
		"3.141592653589793238462643383279502884197",
		"NaN",
		"Infinity",
		"-Infinity",
		"1000000000000000000000000000000000000000000000000000000000000000000001",
		"0.1000000000000000000000000000000000000000000000000000000000000000000001",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
		g_autofree char *nested =
			g_strdup_printf("[{\"a\":%s,\"1.0\":[%s,\"1e3\"]},%s,true]", numbers[i],
					numbers[i], numbers[i]);

		assert_kept(numbers[i]);
		assert_kept(nested);
	}
}

static void test_numbers_read(void)
{
	static const struct {
		const char *text;
		double number;
		int64_t integer;
		bool is_number;
		bool is_int;
	} cases[] = {
		{"7", 7, 7, true, true},
		{"1.0", 1.0, 0, true, false},
		{"1e3", 1000, 0, true, false},
		{"-0", 0, 0, true, true},
		{"9007199254740993", 9007199254740992.0, 9007199254740993, true, true},
		{"9223372036854775807", 0x1p63, INT64_MAX, true, true},
		{"-9223372036854775808", -0x1p63, INT64_MIN, true, true},
		{"9223372036854775808", 0x1p63, 0, true, false},
		{"100000000000000000000000000000000000000000000000000000000000000000", 1e65, 0,
		 true, false},
		{"1e999", 0, 0, false, false},
		{"NaN", 0, 0, false, false},
		{"-Infinity", 0, 0, false, false},
		{"\"7\"", 0, 0, false, false},
		{"\"7\\u0000\"", 0, 0, false, false},
		{"true", 0, 0, false, false},
		{"null", 0, 0, false, false},
		{"[7]", 0, 0, false, false},
	};
	cJSON *made = cJSON_CreateObject();
	double number;
	int64_t integer;

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text = g_strdup_printf("{\"n\":%s}", cases[i].text);
		cJSON *value = parse(text);

		number = 0;
		integer = 0;
		g_test_message("%s", cases[i].text);
		g_assert_cmpint(json_number(value->child, &number), ==, cases[i].is_number);
		g_assert_cmpfloat(number, ==, cases[i].number);
		g_assert_cmpint(json_int64(value, "n", &integer), ==, cases[i].is_int);
		g_assert_cmpint(integer, ==, cases[i].integer);
		cJSON_Delete(value);
	}
	g_assert_false(json_number(NULL, &number));
	g_assert_false(json_int64(NULL, "n", &integer));
	/* Numbers that cJSON made. */
	cJSON_AddNumberToObject(made, "half", 0.5);
	cJSON_AddNumberToObject(made, "whole", -3);
	g_assert_false(json_int64(made, "half", &integer));
	g_assert_true(json_int64(made, "whole", &integer));
	g_assert_cmpint(integer, ==, -3);
	cJSON_Delete(made);
}

static void test_copies_kept(void)
{
	const char *text = "{\"factor\":1.0,\"id\":123456789012345678901}";
	cJSON *value = parse(text);
	cJSON *copy = cJSON_Duplicate(value, true);
	char *printed = json_print(copy);
	double factor;

	g_assert_cmpstr(printed, ==, text);
	g_assert_true(json_number(cJSON_GetObjectItemCaseSensitive(copy, "factor"), &factor));
	cJSON_free(printed);
	cJSON_Delete(copy);
	cJSON_Delete(value);
}

/* Each byte at each place of a string, because eight bytes are checked at a time. */
static void test_bytes_of_strings(void)
{
	static const char pattern[] = "\"z1;y2{z3}y4[z5\x7fy6,z7:y8\"";

	for (int byte = 0; byte < 0x80; byte++) {
		for (size_t place = 1; place < 20; place++) {
			char text[sizeof(pattern)];
			bool plain = byte >= 0x20 && byte != '"' && byte != '\\';
			cJSON *value;

			memcpy(text, pattern, sizeof(pattern));
			text[place] = (char)byte;
			value = parse_bytes(text, sizeof(pattern) - 1, NULL);
			g_assert_cmpint(value != NULL, ==, plain);
			if (value)
				g_assert_true(value->valuestring[place - 1] == byte);
			cJSON_Delete(value);
		}
	}
}

static void test_strings(void)
{
	cJSON *value;

	assert_kept_as("\"a\\u0041\\/\\\"\\\\\\n\"", "\"aA/\\\"\\\\\\n\"");
	assert_kept_as("\"\\ud83d\\ude00\"", "\"\xf0\x9f\x98\x80\"");
	assert_kept("\"a\\u0000b\"");
	assert_kept("[1.0,\"\\ud800\",\"\\ude00 \\u0000\",\"\\ud800\\ud800\\udc00\",2.0]");
	assert_kept_as(" { \"a\" : [ ] , \"\" : \"\" } \r\n", "{\"a\":[],\"\":\"\"}");
	value = parse("{\"A\":\"upper\",\"a\":\"lower\",\"n\":1,\"nul\":\"\\u0000\"}");
	g_assert_cmpstr(json_string(value, "a"), ==, "lower");
	g_assert_null(json_string(value, "n"));
	g_assert_null(json_string(value, "nul"));
	g_assert_null(json_string(value, "absent"));
	g_assert_null(json_string(NULL, "a"));
	cJSON_Delete(value);
}

static void test_duplicate_keys(void)
{
	GString *text = g_string_new("{");
	GString *expected = g_string_new("{");

	assert_kept_as("{\"a\":1,\"b\":2,\"a\":3}", "{\"a\":3,\"b\":2}");
	assert_kept_as("{\"a\":1,\"a\":2,\"a\":3.0}", "{\"a\":3.0}");
	assert_kept_as("{\"x\":{\"a\":1,\"a\":1.0},\"a\":[{\"b\":1.0,\"b\":2}]}",
		       "{\"x\":{\"a\":1.0},\"a\":[{\"b\":2}]}");
	/* Enough members for the hash table, and each key three times. */
	for (int i = 0; i < 3000; i++)
		g_string_append_printf(text, "%s\"k%d\":%d.0", i ? "," : "", i % 1000, i);
	for (int i = 0; i < 1000; i++)
		g_string_append_printf(expected, "%s\"k%d\":%d.0", i ? "," : "", i, 2000 + i);
	g_string_append_c(text, '}');
	g_string_append_c(expected, '}');
	assert_kept_as(text->str, expected->str);
	g_string_free(text, TRUE);
	g_string_free(expected, TRUE);
}

/* In quadratic time this would take minutes. */
static void test_many_members(void)
{
	GString *text = g_string_new("{");

	for (size_t i = 1; i < JSON_MAX_VALUES; i++)
		g_string_append_printf(text, "%s\"key%zu\":%zu.0", i > 1 ? "," : "", i, i);
	g_string_append_c(text, '}');
	assert_kept(text->str);
	g_string_truncate(text, text->len - 1);
	g_string_append(text, ",\"one\":\"more\"}");
	assert_refused(text->str, "too many values");
	g_string_free(text, TRUE);
}

static void test_depth(void)
{
	g_autofree char *open = g_strnfill(JSON_MAX_DEPTH, '[');
	g_autofree char *close = g_strnfill(JSON_MAX_DEPTH, ']');
	g_autofree char *deepest = g_strconcat(open, close, NULL);
	g_autofree char *too_deep = g_strconcat("[", deepest, "]", NULL);
	g_autofree char *hostile = g_strnfill(1000000, '[');
	g_autofree char *brackets = g_strdup_printf("[\"%s\"]", hostile);

	assert_kept(deepest);
	assert_refused(too_deep, "nested too deeply");
	assert_refused(hostile, "nested too deeply");
	assert_kept(brackets);
}

static void test_refused(void)
{
	static const char *const wrong[] = {
		"",
		" ",
		"{",
		"}",
		"[1,]",
		"{\"a\":1,}",
		"{\"a\"}",
		"{a:1}",
		"[1 2]",
		"'a'",
		"\"a",
		"\"\\x\"",
		"\"\\u12\"",
		"\"\\",
		"01",
		"-",
		"+1",
		"1.",
		".5",
		"1e",
		"1e+",
		"0x10",
		"--1",
		"tru",
		"nul",
		"True",
		"nan",
		"Infinit",
		"[1]x",
		"1 1",
		"{}{}",
		"[}",
		"{]",
		"\"a\nb\"",
		"\"a\x01\"",
		"[\f1]",
		"\xef\xbb\xbf 1",
		"/**/1",
		"\"\xc3\"",
		"\xff",
		"\"\xed\xa0\x80\"",
		"{\"\\u0000\":1}",
		"{\"a\\ud800\" : 1}",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
		g_test_message("case %zu", i);
		assert_refused(wrong[i], "not JSON");
	}
	assert_refused_bytes("[1]\0", 4, "NUL");
	assert_refused_bytes("\"a\0b\"", 5, "NUL");
	assert_refused("[1] ,", "after the end");
	assert_refused("[1, 2, x]", "byte 7 of 9");
}

/* A text that is cut at any byte is refused. */
static void test_cut_short(void)
{
	const char *text = "{\"a\":[1.0,\"\\ud83d\\ude00\\u0000\",true,null,-1e5,NaN]}";

	for (size_t length = 0; length < strlen(text); length++)
		assert_refused_bytes(text, length, "not JSON");
}

/* No error quotes the text, because it may hold a token. */
static void test_errors_quote_nothing(void)
{
	GError *error = NULL;
	const char *text = "{\"_context_auth_token\": \"secret\", x}";

	g_assert_null(parse_bytes(text, strlen(text), &error));
	g_assert_nonnull(error);
	g_assert_null(strstr(error->message, "secret"));
	g_error_free(error);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/json/numbers-kept", test_numbers_kept);
	g_test_add_func("/json/numbers-read", test_numbers_read);
	g_test_add_func("/json/copies-kept", test_copies_kept);
	g_test_add_func("/json/strings", test_strings);
	g_test_add_func("/json/bytes-of-strings", test_bytes_of_strings);
	g_test_add_func("/json/duplicate-keys", test_duplicate_keys);
	g_test_add_func("/json/many-members", test_many_members);
	g_test_add_func("/json/depth", test_depth);
	g_test_add_func("/json/refused", test_refused);
	g_test_add_func("/json/cut-short", test_cut_short);
	g_test_add_func("/json/errors-quote-nothing", test_errors_quote_nothing);
	return g_test_run();
}
