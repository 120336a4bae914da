/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The strict JSON scanner.
 */
#include "rpc/json-scan.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "rpc/limits.h"
#include "rpc/rpc.h"

/* The longest number that cJSON reads completely. */
#define CJSON_NUMBER_MAX 63

struct scan {
	const char *text;
	size_t length;
	size_t at;
	size_t values; /* number of values so far */
	GArray *verbatim;
	char *patched; /* NULL: no copy was needed yet */
};

void json_set_error(GError **error, const char *problem, size_t at, size_t length)
{
	g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE, "not JSON: %s at byte %zu of %zu", problem,
		    at, length);
}

size_t json_skip_space(const char *text, size_t length, size_t at)
{
	while (at < length &&
	       (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r'))
		at++;
	return at;
}

static int scan_error(const struct scan *scan, size_t at, GError **error, const char *problem)
{
	json_set_error(error, problem, at, scan->length);
	return -1;
}

/* The byte at offset `at` of the copy that cJSON will read. */
static char *scan_patch(struct scan *scan, size_t at)
{
	if (!scan->patched)
		scan->patched = g_memdup2(scan->text, scan->length);
	return scan->patched + at;
}

/* Keeps the text of the value from `offset` to the current position. */
static void scan_keep(struct scan *scan, size_t offset)
{
	struct json_verbatim kept = {scan->values, offset, scan->at - offset};

	g_array_append_val(scan->verbatim, kept);
}

/* As scan_keep, for a number that cJSON cannot read: the copy has a zero in its place. */
static void scan_keep_number(struct scan *scan, size_t offset)
{
	char *patch = scan_patch(scan, offset);

	memset(patch, ' ', scan->at - offset);
	*patch = '0';
	scan_keep(scan, offset);
}

/* Skips the character `wanted`; returns false if it is not there. */
static bool scan_char(struct scan *scan, char wanted)
{
	if (scan->at >= scan->length || scan->text[scan->at] != wanted)
		return false;
	scan->at++;
	return true;
}

/* Skips digits; returns how many. */
static size_t scan_digits(struct scan *scan)
{
	size_t start = scan->at;

	while (scan->at < scan->length && g_ascii_isdigit(scan->text[scan->at]))
		scan->at++;
	return scan->at - start;
}

static void scan_space(struct scan *scan)
{
	scan->at = json_skip_space(scan->text, scan->length, scan->at);
}

static bool scan_word(struct scan *scan, const char *word)
{
	size_t length = strlen(word);

	if (scan->length - scan->at < length || memcmp(scan->text + scan->at, word, length) != 0)
		return false;
	scan->at += length;
	return true;
}

/* Whether cJSON prints this number without a change. */
static bool is_number_preserved(const char *text, size_t length)
{
	g_autofree char *copy = g_strndup(text, length);
	cJSON number = {.type = cJSON_Number};
	char printed[64];

	cJSON_SetNumberHelper(&number, g_ascii_strtod(copy, NULL));
	return cJSON_PrintPreallocated(&number, printed, sizeof printed, false) &&
	       strcmp(printed, copy) == 0;
}

static int scan_number(struct scan *scan, GError **error)
{
	size_t start = scan->at;
	size_t digits;
	bool integer = true;
	bool negative = scan_char(scan, '-');

	if (scan_word(scan, "Infinity")) {
		scan_keep_number(scan, start);
		return 0;
	}
	if (scan_char(scan, '0'))
		digits = 1;
	else
		digits = scan_digits(scan);
	if (!digits)
		return scan_error(scan, start, error, "a number without digits");
	if (scan_char(scan, '.')) {
		integer = false;
		if (!scan_digits(scan))
			return scan_error(scan, start, error, "a fraction without digits");
	}
	if (scan_char(scan, 'e') || scan_char(scan, 'E')) {
		integer = false;
		if (!scan_char(scan, '+'))
			scan_char(scan, '-');
		if (!scan_digits(scan))
			return scan_error(scan, start, error, "an exponent without digits");
	}
	/* A double holds 15 digits, which cJSON prints without an exponent. */
	if (integer && digits <= 15 && !(negative && scan->text[start + 1] == '0'))
		return 0;
	if (scan->at - start > CJSON_NUMBER_MAX) {
		scan_keep_number(scan, start);
	} else if (!is_number_preserved(scan->text + start, scan->at - start)) {
		scan_keep(scan, start);
	}
	return 0;
}

/* The code of \uXXXX at `at`; -1 if there is none. */
static int unicode_escape_at(const struct scan *scan, size_t at)
{
	int code = 0;

	if (scan->length < 6 || at > scan->length - 6 || scan->text[at] != '\\' ||
	    scan->text[at + 1] != 'u')
		return -1;
	for (size_t i = at + 2; i < at + 6; i++) {
		int digit = g_ascii_xdigit_value(scan->text[i]);

		if (digit < 0)
			return -1;
		code = code * 16 + digit;
	}
	return code;
}

/* An escape of two characters, such as \n. */
static bool is_short_escape(char c)
{
	return c == '"' || c == '\\' || (c && strchr("/bfnrt", c));
}

/* Sets `ret_unprintable` for \u0000 and half a surrogate pair, which cJSON cannot hold in a
 * string. */
static int scan_escape(struct scan *scan, bool *ret_unprintable, GError **error)
{
	size_t start = scan->at;
	int code;
	int low;

	if (scan->at + 1 < scan->length && is_short_escape(scan->text[scan->at + 1])) {
		scan->at += 2;
		return 0;
	}
	code = unicode_escape_at(scan, start);
	if (code < 0)
		return scan_error(scan, start, error, "an invalid escape");
	scan->at += 6;
	if (code >= 0xd800 && code < 0xdc00) {
		low = unicode_escape_at(scan, scan->at);
		if (low >= 0xdc00 && low < 0xe000) {
			scan->at += 6;
			return 0;
		}
	}
	if (code != 0 && (code < 0xd800 || code >= 0xe000))
		return 0;
	*ret_unprintable = true;
	memcpy(scan_patch(scan, start), "\\ufffd", 6);
	return 0;
}

static bool is_plain_char(char c)
{
	return (unsigned char)c >= 0x20 && c != '"' && c != '\\';
}

/* The same for eight bytes at once. Each of the three sums has the top bit of a byte set if that
 * byte is below a space, a quote or a backslash. (After the first such byte there may be false
 * positives, which do not matter.) */
static bool are_plain_chars(const char *text)
{
	const uint64_t ones = 0x0101010101010101;
	uint64_t bytes, quotes, slashes;

	memcpy(&bytes, text, sizeof(bytes));
	quotes = bytes ^ (ones * '"');
	slashes = bytes ^ (ones * '\\');
	return !((((bytes - ones * 0x20) & ~bytes) | ((quotes - ones) & ~quotes) |
		  ((slashes - ones) & ~slashes)) &
		 (ones * 0x80));
}

/* Skips the characters of a string up to its end, an escape, or an invalid character. */
static void scan_plain(struct scan *scan)
{
	const char *at = scan->text + scan->at;
	const char *end = scan->text + scan->length;

	while (end - at >= (ptrdiff_t)sizeof(uint64_t) && are_plain_chars(at))
		at += sizeof(uint64_t);
	while (at < end && is_plain_char(*at))
		at++;
	scan->at = (size_t)(at - scan->text);
}

static int scan_string(struct scan *scan, GError **error)
{
	size_t start = scan->at++;
	bool unprintable = false;
	size_t end;

	for (;;) {
		scan_plain(scan);
		if (scan->at >= scan->length)
			return scan_error(scan, start, error, "an unterminated string");
		if (scan_char(scan, '"'))
			break;
		if (scan->text[scan->at] != '\\')
			return scan_error(scan, scan->at, error, "an unescaped control character");
		if (scan_escape(scan, &unprintable, error) < 0)
			return -1;
	}
	end = scan->at;
	scan_space(scan);
	if (scan->at < scan->length && scan->text[scan->at] == ':') {
		if (unprintable)
			return scan_error(scan, start, error,
					  "a key with an escape that is not a character");
		return 0;
	}
	scan->at = end;
	if (unprintable)
		scan_keep(scan, start);
	scan->values++;
	return 0;
}

static int scan_scalar(struct scan *scan, GError **error)
{
	char c = scan->text[scan->at];
	size_t start = scan->at;

	if (scan_word(scan, "NaN")) {
		scan_keep_number(scan, start);
	} else if (c == '-' || c == 'I' || g_ascii_isdigit(c)) {
		if (scan_number(scan, error) < 0)
			return -1;
	} else if (!scan_word(scan, "true") && !scan_word(scan, "false") &&
		   !scan_word(scan, "null")) {
		return scan_error(scan, start, error, "an unexpected character");
	}
	/* cJSON would read 01 as one number. */
	if (scan->at < scan->length && !strchr(" \t\n\r,]}", scan->text[scan->at]))
		return scan_error(scan, scan->at, error, "an unexpected character");
	scan->values++;
	return 0;
}

static int scan_tokens(struct scan *scan, GError **error)
{
	unsigned depth = 0;

	for (scan_space(scan); scan->at < scan->length; scan_space(scan)) {
		if (scan->values > JSON_MAX_VALUES)
			return scan_error(scan, scan->at, error, "too many values");
		switch (scan->text[scan->at]) {
		case '{':
		case '[':
			if (++depth > JSON_MAX_DEPTH)
				return scan_error(scan, scan->at, error, "nested too deeply");
			scan->values++;
			scan->at++;
			break;
		case '}':
		case ']':
			if (!depth)
				return scan_error(scan, scan->at, error,
						  "an unmatched closing bracket");
			depth--;
			scan->at++;
			break;
		case ',':
		case ':':
			scan->at++;
			break;
		case '"':
			if (scan_string(scan, error) < 0)
				return -1;
			break;
		default:
			if (scan_scalar(scan, error) < 0)
				return -1;
			break;
		}
	}
	return 0;
}

GArray *json_scan(const char *text, size_t length, char **ret_patched, GError **error)
{
	struct scan scan = {.text = text, .length = length};

	scan.verbatim = g_array_new(FALSE, FALSE, sizeof(struct json_verbatim));
	if (scan_tokens(&scan, error) < 0) {
		g_array_unref(scan.verbatim);
		g_free(scan.patched);
		return NULL;
	}
	*ret_patched = scan.patched;
	return scan.verbatim;
}
