/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON as Python's peers write it, on top of cJSON: checked before it is parsed, and with numbers
 * kept to the letter, so that an object that goes back is the object that came.
 */
#ifndef NOVASNAP_RPC_JSON_H
#define NOVASNAP_RPC_JSON_H

#include <cjson/cJSON.h>
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define JSON_MAX_DEPTH 100

/*
 * Parses `length` bytes. Refused, with RPC_ERROR_DECODE: broken UTF-8, NUL bytes, nesting over
 * JSON_MAX_DEPTH, anything behind the value. A number whose text cJSON would print otherwise (1.0,
 * 12345678901234567890) becomes a raw item of that text; json_int64 reads both kinds.
 */
cJSON *json_parse(const char *text, size_t length, GError **error);

/* Compact text; freed with cJSON_free. */
char *json_print(const cJSON *item);

/* The string of a member, NULL where it is absent or no string. */
const char *json_string(const cJSON *object, const char *name);

/* False where the member is absent, no number, or no whole number that fits. */
bool json_int64(const cJSON *object, const char *name, int64_t *ret);

#endif
