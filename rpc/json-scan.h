/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A strict scan over JSON text. It checks what cJSON is lenient about, and finds the values that
 * cJSON would not print again as they are. It looks at each token by itself; whether the tokens are
 * in a valid order is left to cJSON.
 */
#ifndef NOVASNAP_RPC_JSON_SCAN_H
#define NOVASNAP_RPC_JSON_SCAN_H

#include <glib.h>
#include <stddef.h>

/* A value whose text must be kept to the letter. */
struct json_verbatim {
	size_t ordinal; /* among all values, in the order of the text */
	size_t offset;	/* in the text, bytes */
	size_t length;
};

/* Scans UTF-8 text. Returns the values to keep, in the order of the text; the caller unrefs the
 * array. `ret_patched` is a copy of the text in which cJSON can read these values, or NULL when it
 * can in the text itself; the caller frees it. Returns NULL with RPC_ERROR_DECODE. */
GArray *json_scan(const char *text, size_t length, char **ret_patched, GError **error);

/* Returns the first place at or after `at` that is not white space. */
size_t json_skip_space(const char *text, size_t length, size_t at);

/* Sets an error that names the place, and never quotes the text. */
void json_set_error(GError **error, const char *problem, size_t at, size_t length);

#endif
