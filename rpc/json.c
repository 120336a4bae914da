/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON that is parsed strictly and forwarded verbatim. The scanner checks the text and finds the
 * values that cJSON would change. cJSON builds the tree. A walk over the tree, which counts the
 * values in the order of the text, then restores these values.
 */
#include "rpc/json.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "rpc/json-duplicates.h"
#include "rpc/json-scan.h"

/* Makes a node that prints as this text. */
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

/* Restores the kept values in the tree. `next` is the first value to restore, `ordinal` counts the
 * values visited so far. */
static void restore_verbatim(cJSON *node, const char *text, const GArray *verbatim, guint *next,
			     size_t *ordinal)
{
	cJSON *child;
	const struct json_verbatim *kept;

	if (*next >= verbatim->len)
		return;
	kept = &g_array_index(verbatim, struct json_verbatim, *next);
	if (kept->ordinal == (*ordinal)++) {
		make_raw(node, text + kept->offset, kept->length);
		(*next)++;
	}
	cJSON_ArrayForEach (child, node)
		restore_verbatim(child, text, verbatim, next, ordinal);
}

/* Most messages are ASCII, and checking for that is faster than g_utf8_validate_len, which examines
 * each byte. Both reject NUL. */
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
	g_autoptr(GArray) verbatim = NULL;
	g_autofree char *patched = NULL;
	const char *source;
	const char *invalid = NULL;
	const char *end = NULL;
	size_t rest;
	guint next = 0;
	size_t ordinal = 0;
	cJSON *root;

	if (!is_utf8(text, length, &invalid)) {
		json_set_error(error, "invalid UTF-8 or a NUL byte", (size_t)(invalid - text),
			       length);
		return NULL;
	}
	verbatim = json_scan(text, length, &patched, error);
	if (!verbatim)
		return NULL;
	source = patched ? patched : text;
	root = cJSON_ParseWithLengthOpts(source, length, &end, false);
	if (!root) {
		json_set_error(error, "a syntax error", end ? (size_t)(end - source) : 0, length);
		return NULL;
	}
	rest = json_skip_space(source, length, (size_t)(end - source));
	if (rest < length) {
		json_set_error(error, "text after the end of the value", rest, length);
		cJSON_Delete(root);
		return NULL;
	}
	restore_verbatim(root, text, verbatim, &next, &ordinal);
	json_drop_duplicates(root);
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
