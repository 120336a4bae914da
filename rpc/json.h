/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON from other programs, based on cJSON: the parser is stricter, and data is forwarded verbatim.
 * Code that only reads values needs only json_parse.
 */
#ifndef NOVASNAP_RPC_JSON_H
#define NOVASNAP_RPC_JSON_H

#include <cjson/cJSON.h>
#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rpc/limits.h"

/* Parses `length` bytes (not NUL-terminated) in linear time. The caller deletes the value. Returns
 * NULL with RPC_ERROR_DECODE, with the offset but without any of the text, if the bytes are
 * - not UTF-8, or contain a NUL byte or an unescaped control character in a string;
 * - nested deeper than JSON_MAX_DEPTH, or contain more than JSON_MAX_VALUES values (both are
 *   checked before anything is built);
 * - not JSON according to RFC 8259, which is stricter than cJSON, or followed by anything but white
 *   space.
 *
 * As in Python's json module, NaN, Infinity and -Infinity are accepted, and if an object has
 * several members with the same key, the last value is used, at the place of the first.
 *
 * A value that cJSON could not print unchanged becomes a node of the type cJSON_Raw, which holds
 * its text: numbers such as 1.0, 1e3, 123456789012345678901 and NaN, and strings with \u0000 or
 * half a surrogate pair (a key with one of those is rejected). So read numbers with json_number or
 * json_int64, never with cJSON_IsNumber. */
cJSON *json_parse(const char *text, size_t length, GError **error);

/* Returns the text without white space, to be freed with cJSON_free; NULL if memory allocation
 * fails. */
char *json_print(const cJSON *value);

/* Gets the value of a number, created by json_parse or by cJSON. Returns false for other types and
 * for numbers that a double cannot hold (NaN, Infinity, 1e999). */
bool json_number(const cJSON *value, double *ret_value);

/* Returns the text of a member that is a string, else NULL. `object` may be NULL. */
const char *json_string(const cJSON *object, const char *key);
/* Gets a member that is a whole number, written without fraction and exponent. Returns false if it
 * is missing, has another type, or does not fit. `object` may be NULL. */
bool json_int64(const cJSON *object, const char *key, int64_t *ret_value);

#endif
