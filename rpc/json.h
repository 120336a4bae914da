/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON as it came from a peer, on top of cJSON: stricter about what is JSON, and exact about what
 * is passed on. For the rooms that carry other programs' data through; a value that is only read
 * needs nothing of this but json_parse itself.
 */
#ifndef NOVASNAP_RPC_JSON_H
#define NOVASNAP_RPC_JSON_H

#include <cjson/cJSON.h>
#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rpc/limits.h"

/* Parses `length` bytes, which need no terminator. NULL with RPC_ERROR_DECODE, which names the
 * byte and quotes nothing of the text, when they are
 *  - not UTF-8, or hold a NUL byte or a bare control character in a string;
 *  - nested deeper than JSON_MAX_DEPTH, or of more values than JSON_MAX_VALUES (both looked at
 *    before anything is built), or followed by anything but white space;
 *  - not JSON by RFC 8259, which is stricter than cJSON.
 * As Python's json module does, NaN, Infinity and -Infinity are taken, and of two members with one
 * key the last value wins, in the place of the first.
 *
 * What cJSON could not print again as it was becomes a cJSON_Raw node that holds the text to the
 * letter: numbers such as 1.0, 1e3, 123456789012345678901 and NaN, and strings with \u0000 or half
 * a surrogate pair (a key with those is refused). So a number is read with json_number or
 * json_int64, never with cJSON_IsNumber. Takes linear time, also for objects with many keys. */
cJSON *json_parse(const char *text, size_t length, GError **error);

/* The text without white space, to be freed with cJSON_free; NULL when memory is short. */
char *json_print(const cJSON *value);

/* The value of a number, parsed by us or made with cJSON; false for anything else, and for what a
 * double cannot hold (NaN, Infinity, 1e999). */
bool json_number(const cJSON *value, double *ret_value);

/* Members of an object, which may be NULL and then has none. */
/* The text of one that is a string, else NULL. */
const char *json_string(const cJSON *object, const char *key);
/* False for one that is absent, or no number without fraction and exponent that fits. */
bool json_int64(const cJSON *object, const char *key, int64_t *ret_value);

#endif
