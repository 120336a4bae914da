/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The text is scanned twice: before parsing for what cJSON would accept or choke on, and after it
 * in step with the tree, for the numbers.
 */
#include "rpc/json.h"

#include <stdlib.h>
#include <string.h>

#include "rpc/rpc.h"

static const char *skip_string(const char *at)
{
	for (at++; *at && *at != '"'; at++) {
		if (*at == '\\' && at[1])
			at++;
	}
	return *at ? at + 1 : at;
}

static bool too_deep(const char *text)
{
	unsigned depth = 0;

	while (*text) {
		if (*text == '"') {
			text = skip_string(text);
			continue;
		}
		if (*text == '[' || *text == '{') {
			if (++depth > JSON_MAX_DEPTH)
				return true;
		} else if ((*text == ']' || *text == '}') && depth > 0) {
			depth--;
		}
		text++;
	}
	return false;
}

static bool is_number_char(char c)
{
	return g_ascii_isdigit(c) || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

/* Keeps the text of a number that would be printed otherwise. */
static void keep_number(cJSON *item, const char *start, size_t length)
{
	g_autofree char *text = NULL;
	char *printed = cJSON_PrintUnformatted(item);
	bool same = printed && strlen(printed) == length && memcmp(printed, start, length) == 0;

	cJSON_free(printed);
	if (same)
		return;
	text = g_strndup(start, length);
	item->valuestring = cJSON_malloc(length + 1);
	if (item->valuestring) {
		memcpy(item->valuestring, text, length + 1);
		item->type = (item->type & ~0xff) | cJSON_Raw;
	}
}

/* The items in the order of the text. */
static cJSON *next_item(cJSON *root, GPtrArray *parents, cJSON *item)
{
	if (item->child) {
		g_ptr_array_add(parents, item);
		return item->child;
	}
	while (item != root && !item->next) {
		if (parents->len == 0)
			return NULL;
		item = g_ptr_array_remove_index(parents, parents->len - 1);
	}
	return item == root ? NULL : item->next;
}

static void keep_numbers(cJSON *root, const char *text)
{
	g_autoptr(GPtrArray) parents = g_ptr_array_new();
	cJSON *item = root;

	while (item && *text) {
		const char *start = text;

		if (*text == '"') {
			text = skip_string(text);
		} else if (*text == '-' || g_ascii_isdigit(*text)) {
			while (item && !cJSON_IsNumber(item))
				item = next_item(root, parents, item);
			while (is_number_char(*text))
				text++;
			if (!item)
				return;
			keep_number(item, start, (size_t)(text - start));
			item = next_item(root, parents, item);
		} else {
			text++;
		}
	}
}

cJSON *json_parse(const char *text, size_t length, GError **error)
{
	g_autofree char *copy = NULL;
	const char *end = NULL, *bad;
	const char *why = NULL;
	cJSON *root = NULL;

	if (!g_utf8_validate_len(text, length, &bad)) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE,
			    "broken UTF-8, or a NUL byte, at byte %zu", (size_t)(bad - text));
		return NULL;
	}
	copy = g_strndup(text, length);
	if (too_deep(copy))
		why = "nested too deeply";
	else if (!(root = cJSON_ParseWithOpts(copy, &end, true)))
		why = "no JSON";
	if (why) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE, "%s, at byte %zu", why,
			    end ? (size_t)(end - copy) : 0);
		return NULL;
	}
	keep_numbers(root, copy);
	return root;
}

char *json_print(const cJSON *item)
{
	return cJSON_PrintUnformatted(item);
}

const char *json_string(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsString(item) ? item->valuestring : NULL;
}

bool json_int64(const cJSON *object, const char *name, int64_t *ret)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
	char *end;

	if (cJSON_IsNumber(item)) {
		*ret = (int64_t)item->valuedouble;
		return item->valuedouble >= -9e15 && item->valuedouble <= 9e15 &&
		       (double)*ret == item->valuedouble;
	}
	if (!cJSON_IsRaw(item))
		return false;
	*ret = g_ascii_strtoll(item->valuestring, &end, 10);
	return *end == '\0' && *ret != INT64_MAX && *ret != INT64_MIN;
}
