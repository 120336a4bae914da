/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Converts texts to values, as oslo.config does (oslo_config/types.py).
 */
#ifndef NOVASNAP_AGENT_CONFIG_VALUE_H
#define NOVASNAP_AGENT_CONFIG_VALUE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Whether a text contains only whitespace. */
bool config_value_is_blank(const char *text);

/* types.Boolean. Returns false if the text is neither true nor false. */
bool config_value_parse_bool(const char *text, bool *ret);

/* types.Integer, that is Python's int(): whitespace around it, a sign, and single underscores
 * between digits are allowed. Returns false if the text is not an integer or is out of range. */
bool config_value_parse_uint(const char *text, unsigned min, unsigned max, unsigned *ret);
/* The same for any number of 63 bits. */
bool config_value_parse_int64(const char *text, int64_t *ret);

/* types.HostDomain, which removes the dot at the end of a host name; in place. What is no host name
 * stays as it is: Novas before Newton take any text. */
void config_value_trim_host(char *text);

/* types.List without empty items. A NULL-terminated array, which the caller frees with
 * g_strfreev. */
char **config_value_parse_list(const char *text);

#endif
