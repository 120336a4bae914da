/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON from a peer, on top of cJSON: stricter about what is JSON, and exact about what is passed
 * on. Code that carries other programs' data uses all of it; code that only reads values needs no
 * more than json_parse.
 */
#ifndef NOVASNAP_RPC_JSON_H
#define NOVASNAP_RPC_JSON_H

#include <cjson/cJSON.h>
#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rpc/limits.h"

/* Parses `length` bytes, which need no terminator, in linear time. The caller deletes the value.
 * Returns NULL with RPC_ERROR_DECODE, which names the byte and never quotes the text, when they are
 *  - not UTF-8, or hold a NUL byte or an unescaped control character in a string;
 *  - nested deeper than JSON_MAX_DEPTH, or of more values than JSON_MAX_VALUES (both are checked
 *    before anything is built);
 *  - not JSON by RFC 8259, which is stricter than cJSON, or followed by more than white space.
 * As in Python's json module, NaN, Infinity and -Infinity are accepted, and of several members with
 * the same key the last value counts, in the place of the first.
 *
 * A value that cJSON could not print again as it was becomes a node of the type cJSON_Raw, which
 * holds its text to the letter: numbers such as 1.0, 1e3, 123456789012345678901 and NaN, and
 * strings with \u0000 or half a surrogate pair (a key with one of those is refused). So read
 * numbers with json_number or json_int64, never with cJSON_IsNumber. */
cJSON *json_parse(const char *text, size_t length, GError **error);

/* Returns the text without white space, to be freed with cJSON_free; NULL when memory is short. */
char *json_print(const cJSON *value);

/* Gets the value of a number, whether json_parse or cJSON made it. Returns false for anything else,
 * and for a number that a double cannot hold (NaN, Infinity, 1e999). */
bool json_number(const cJSON *value, double *ret_value);

/* Returns the text of a member that is a string, else NULL. `object` may be NULL. */
const char *json_string(const cJSON *object, const char *key);
/* Gets a member that is a whole number, written without fraction and exponent. Returns false when
 * it is absent, is anything else, or does not fit. `object` may be NULL. */
bool json_int64(const cJSON *object, const char *key, int64_t *ret_value);

#endif
