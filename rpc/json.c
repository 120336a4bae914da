/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON that is read strictly and passed on to the letter. A scan over the text checks what cJSON
 * is lenient about and notes which values cJSON would change; cJSON then builds the tree; a walk
 * over the tree, which counts values in the order of the text, puts the noted ones back.
 */
#include "rpc/json.h"
#include "rpc/rpc.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* Objects of up to this many members are looked through for a second key without a table. */
#define FEW_MEMBERS 128

/* What cJSON reads of one number at most. */
#define CJSON_NUMBER_MAX 63

/* A value that is carried as its text. */
struct verbatim {
	size_t ordinal; /* of all values, in the order of the text */
	size_t offset;
	size_t length;
};

struct scan {
	const char *text;
	size_t length;
	size_t at;
	size_t values; /* seen so far */
	GArray *verbatim;
	char *patched; /* a copy in which cJSON reads what it cannot in the original; NULL: none */
};

static int scan_error(const struct scan *scan, size_t at, GError **error, const char *what)
{
	g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE, "not JSON: %s at byte %zu of %zu", what, at,
		    scan->length);
	return -1;
}

static char *scan_patch(struct scan *scan, size_t at)
{
	if (!scan->patched)
		scan->patched = g_memdup2(scan->text, scan->length);
	return scan->patched + at;
}

/* What was passed since `offset` is the value to keep. */
static void scan_keep(struct scan *scan, size_t offset)
{
	struct verbatim kept = {scan->values, offset, scan->at - offset};

	g_array_append_val(scan->verbatim, kept);
}

/* The same for what cJSON cannot read as a number: it is shown a zero instead. */
static void scan_keep_number(struct scan *scan, size_t offset)
{
	char *patch = scan_patch(scan, offset);

	memset(patch, ' ', scan->at - offset);
	*patch = '0';
	scan_keep(scan, offset);
}

static bool scan_takes(struct scan *scan, char wanted)
{
	if (scan->at >= scan->length || scan->text[scan->at] != wanted)
		return false;
	scan->at++;
	return true;
}

static size_t scan_digits(struct scan *scan)
{
	size_t start = scan->at;

	while (scan->at < scan->length && g_ascii_isdigit(scan->text[scan->at]))
		scan->at++;
	return scan->at - start;
}

static bool is_white(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static void scan_white(struct scan *scan)
{
	while (scan->at < scan->length && is_white(scan->text[scan->at]))
		scan->at++;
}

static bool scan_word(struct scan *scan, const char *word)
{
	size_t length = strlen(word);

	if (scan->length - scan->at < length || memcmp(scan->text + scan->at, word, length) != 0)
		return false;
	scan->at += length;
	return true;
}

/* Does cJSON print this number again as it stands? */
static bool number_survives(const char *text, size_t length)
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
	bool negative = scan_takes(scan, '-');

	if (scan_word(scan, "Infinity")) {
		scan_keep_number(scan, start);
		return 0;
	}
	if (scan_takes(scan, '0'))
		digits = 1;
	else
		digits = scan_digits(scan);
	if (!digits)
		return scan_error(scan, start, error, "a number without digits");
	if (scan_takes(scan, '.')) {
		integer = false;
		if (!scan_digits(scan))
			return scan_error(scan, start, error, "a fraction without digits");
	}
	if (scan_takes(scan, 'e') || scan_takes(scan, 'E')) {
		integer = false;
		if (!scan_takes(scan, '+'))
			scan_takes(scan, '-');
		if (!scan_digits(scan))
			return scan_error(scan, start, error, "an exponent without digits");
	}
	/* A double holds 15 digits, and cJSON prints as many without an exponent. */
	if (integer && digits <= 15 && !(negative && scan->text[start + 1] == '0'))
		return 0;
	if (scan->at - start > CJSON_NUMBER_MAX) {
		scan_keep_number(scan, start);
	} else if (!number_survives(scan->text + start, scan->at - start)) {
		scan_keep(scan, start);
	}
	return 0;
}

/* The four digits of \uXXXX at `at`, -1 where there are none. */
static int hex4_at(const struct scan *scan, size_t at)
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

/* An envelope's message is a string of quotes, each of them escaped. */
static bool is_short_escape(char c)
{
	return c == '"' || c == '\\' || (c && strchr("/bfnrt", c));
}

static int scan_escape(struct scan *scan, bool *ret_unprintable, GError **error)
{
	size_t start = scan->at;
	int code;
	int low;

	if (scan->at + 1 < scan->length && is_short_escape(scan->text[scan->at + 1])) {
		scan->at += 2;
		return 0;
	}
	code = hex4_at(scan, start);
	if (code < 0)
		return scan_error(scan, start, error, "a broken escape");
	scan->at += 6;
	if (code >= 0xd800 && code < 0xdc00) {
		low = hex4_at(scan, scan->at);
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

static bool is_plain(char c)
{
	return (unsigned char)c >= 0x20 && c != '"' && c != '\\';
}

/* The same of eight bytes at once: each of the three sums has a top bit where a byte is below a
 * space, a quote or a backslash; beyond the first of those it may have more. */
static bool are_plain(const char *text)
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

/* Up to what ends a string, is an escape, or may not be in one. */
static void scan_plain(struct scan *scan)
{
	const char *at = scan->text + scan->at;
	const char *end = scan->text + scan->length;

	while (end - at >= (ptrdiff_t)sizeof(uint64_t) && are_plain(at))
		at += sizeof(uint64_t);
	while (at < end && is_plain(*at))
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
			return scan_error(scan, start, error, "a string without end");
		if (scan_takes(scan, '"'))
			break;
		if (scan->text[scan->at] != '\\')
			return scan_error(scan, scan->at, error, "a bare control character");
		if (scan_escape(scan, &unprintable, error) < 0)
			return -1;
	}
	end = scan->at;
	scan_white(scan);
	if (scan->at < scan->length && scan->text[scan->at] == ':') {
		if (unprintable)
			return scan_error(scan, start, error, "a key that is no text");
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
	/* cJSON would take 01 for one number. */
	if (scan->at < scan->length && !strchr(" \t\n\r,]}", scan->text[scan->at]))
		return scan_error(scan, scan->at, error, "an unexpected character");
	scan->values++;
	return 0;
}

/* Looks at each token for itself; whether they stand in order is left to cJSON. */
static int scan_all(struct scan *scan, GError **error)
{
	unsigned depth = 0;

	for (scan_white(scan); scan->at < scan->length; scan_white(scan)) {
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
				return scan_error(scan, scan->at, error, "a bracket too many");
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

static void make_raw(cJSON *node, const char *text, size_t length)
{
	cJSON *raw;
	g_autofree char *copy = g_strndup(text, length);

	raw = cJSON_CreateRaw(copy);
	g_assert(raw);
	cJSON_free(node->valuestring);
	node->valuestring = raw->valuestring;
	raw->valuestring = NULL;
	cJSON_Delete(raw);
	node->type = (node->type & ~0xff) | cJSON_Raw;
	if (copy[0] != '"')
		node->valuedouble = g_ascii_strtod(copy, NULL);
}

/* Puts the noted values back; `next` counts those done, `ordinal` the values passed. */
static void restore_verbatim(cJSON *node, const struct scan *scan, guint *next, size_t *ordinal)
{
	cJSON *child;
	const struct verbatim *kept;

	if (*next >= scan->verbatim->len)
		return;
	kept = &g_array_index(scan->verbatim, struct verbatim, *next);
	if (kept->ordinal == (*ordinal)++) {
		make_raw(node, scan->text + kept->offset, kept->length);
		(*next)++;
	}
	cJSON_ArrayForEach (child, node)
		restore_verbatim(child, scan, next, ordinal);
}

/* `later` takes the place of `earlier`, which is freed. */
static void member_supersede(cJSON *object, cJSON *earlier, cJSON *later)
{
	cJSON_DetachItemViaPointer(object, later);
	cJSON_ReplaceItemViaPointer(object, earlier, later);
}

/* The members of an object that were passed, each with a mark of its key: only where two marks are
 * the same the keys may be. */
struct passed {
	unsigned count;
	unsigned char marks[FEW_MEMBERS];
	cJSON *members[FEW_MEMBERS];
	GHashTable *table; /* in place of them, once there are more; NULL until then */
};

static unsigned char mark_of(const char *key)
{
	size_t length = strlen(key);

	return (unsigned char)(length * 37 + (unsigned char)key[0] * 5 +
			       (unsigned char)key[length / 2] * 11 +
			       (length > 0 ? (unsigned char)key[length - 1] : 0));
}

/* Where the member of the same key stands, or `count`. */
static unsigned find_passed(const struct passed *passed, const char *key, unsigned char mark)
{
	const unsigned char *at = passed->marks;
	const unsigned char *end = passed->marks + passed->count;

	while ((at = memchr(at, mark, (size_t)(end - at)))) {
		unsigned index = (unsigned)(at - passed->marks);

		if (strcmp(passed->members[index]->string, key) == 0)
			return index;
		at++;
	}
	return passed->count;
}

/* Notes a member in the place of the earlier one of the same key, which is returned. */
static cJSON *note_few(struct passed *passed, cJSON *member)
{
	unsigned char mark = mark_of(member->string);
	unsigned index = find_passed(passed, member->string, mark);
	cJSON *earlier = index < passed->count ? passed->members[index] : NULL;

	if (!earlier)
		passed->count++;
	passed->marks[index] = mark;
	passed->members[index] = member;
	return earlier;
}

static cJSON *note_many(struct passed *passed, cJSON *member)
{
	cJSON *earlier;

	if (!passed->table) {
		passed->table = g_hash_table_new(g_str_hash, g_str_equal);
		for (unsigned i = 0; i < passed->count; i++)
			g_hash_table_insert(passed->table, passed->members[i]->string,
					    passed->members[i]);
	}
	earlier = g_hash_table_lookup(passed->table, member->string);
	/* Before the earlier one goes: the table's key is its string. */
	g_hash_table_replace(passed->table, member->string, member);
	return earlier;
}

static void drop_superseded(cJSON *node);

static void drop_superseded_members(cJSON *object)
{
	struct passed passed;
	cJSON *next;

	passed.count = 0;
	passed.table = NULL;
	for (cJSON *child = object->child; child; child = next) {
		cJSON *earlier;

		next = child->next;
		drop_superseded(child);
		earlier = passed.count < FEW_MEMBERS && !passed.table ? note_few(&passed, child)
								      : note_many(&passed, child);
		if (earlier)
			member_supersede(object, earlier, child);
	}
	if (passed.table)
		g_hash_table_unref(passed.table);
}

static void drop_superseded(cJSON *node)
{
	cJSON *child;

	if (cJSON_IsObject(node)) {
		drop_superseded_members(node);
		return;
	}
	cJSON_ArrayForEach (child, node)
		drop_superseded(child);
}

/* g_utf8_validate_len, which also refuses NUL, looks at each byte; most messages are ASCII. */
static bool is_utf8(const char *text, size_t length, const char **ret_end)
{
	uint64_t seen = 0;
	uint64_t eight;
	size_t at;

	for (at = 0; at + sizeof(eight) <= length; at += sizeof(eight)) {
		memcpy(&eight, text + at, sizeof(eight));
		seen |= eight;
	}
	for (; at < length; at++)
		seen |= (unsigned char)text[at];
	if (!(seen & 0x8080808080808080) && !memchr(text, 0, length))
		return true;
	return g_utf8_validate_len(text, length, ret_end);
}

cJSON *json_parse(const char *text, size_t length, GError **error)
{
	g_autoptr(GArray) verbatim = g_array_new(FALSE, FALSE, sizeof(struct verbatim));
	struct scan scan = {.text = text, .length = length, .verbatim = verbatim};
	struct scan rest = {.length = length};
	g_autofree char *patched = NULL;
	const char *source;
	const char *end = NULL;
	const char *valid = NULL;
	cJSON *root;
	guint next = 0;
	size_t ordinal = 0;
	int rc;

	if (!is_utf8(text, length, &valid)) {
		scan_error(&scan, (size_t)(valid - text), error, "no UTF-8, or a NUL,");
		return NULL;
	}
	rc = scan_all(&scan, error);
	patched = scan.patched;
	if (rc < 0)
		return NULL;
	source = patched ? patched : text;
	root = cJSON_ParseWithLengthOpts(source, length, &end, false);
	if (!root) {
		scan_error(&scan, end ? (size_t)(end - source) : 0, error, "out of order");
		return NULL;
	}
	rest.text = source;
	rest.at = (size_t)(end - source);
	scan_white(&rest);
	if (rest.at < length) {
		scan_error(&rest, rest.at, error, "something after the end");
		cJSON_Delete(root);
		return NULL;
	}
	restore_verbatim(root, &scan, &next, &ordinal);
	drop_superseded(root);
	return root;
}

char *json_print(const cJSON *value)
{
	return cJSON_PrintUnformatted(value);
}

bool json_number(const cJSON *value, double *ret_value)
{
	bool number = cJSON_IsNumber(value) ||
		      (cJSON_IsRaw(value) &&
		       (value->valuestring[0] == '-' || g_ascii_isdigit(value->valuestring[0])));

	if (!number || !isfinite(value->valuedouble))
		return false;
	*ret_value = value->valuedouble;
	return true;
}

const char *json_string(const cJSON *object, const char *key)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
}

bool json_int64(const cJSON *object, const char *key, int64_t *ret_value)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, key);
	double number;
	gint64 integer;
	char *end;

	if (!json_number(value, &number))
		return false;
	if (cJSON_IsRaw(value)) {
		errno = 0;
		integer = g_ascii_strtoll(value->valuestring, &end, 10);
		if (errno || *end)
			return false;
	} else {
		/* 2^63 is the first double that does not fit. */
		if (number < -0x1p63 || number >= 0x1p63)
			return false;
		integer = (gint64)number;
		if ((double)integer != number)
			return false;
	}
	*ret_value = integer;
	return true;
}
