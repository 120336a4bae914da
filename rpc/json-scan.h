/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A strict scanner for JSON text. It rejects what cJSON wrongly accepts, and finds the values that
 * cJSON would not print unchanged. It checks each token by itself; cJSON checks the order of the
 * tokens.
 */
#ifndef NOVASNAP_RPC_JSON_SCAN_H
#define NOVASNAP_RPC_JSON_SCAN_H

#include <glib.h>
#include <stddef.h>

/* A value whose text must be kept verbatim. */
struct json_verbatim {
	size_t ordinal; /* index among all values, in the order of the text */
	size_t offset;	/* in the text, bytes */
	size_t length;
};

/* Scans UTF-8 text. Returns the values to keep, in the order of the text; the caller unrefs the
 * array. `ret_patched` is a copy of the text in which cJSON can read these values, which the caller
 * frees; NULL if cJSON can read the text itself. Returns NULL with RPC_ERROR_DECODE. */
GArray *json_scan(const char *text, size_t length, char **ret_patched, GError **error);

/* Returns the first offset from `at` on that is not white space. */
size_t json_skip_space(const char *text, size_t length, size_t at);

/* Sets an error with the offset, but without any of the text. */
void json_set_error(GError **error, const char *problem, size_t at, size_t length);

#endif
