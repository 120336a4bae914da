/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fills a struct according to a table of keys.
 */
#ifndef NOVASNAP_AGENT_CONFIG_FILL_H
#define NOVASNAP_AGENT_CONFIG_FILL_H

#include "agent/config/key.h"

/* Stores the value of each key in the table at its offset in `target`: its effective setting, or
 * else its default, substituted and checked. If a key has neither, `target` is unchanged, except
 * that a list becomes empty. The strings and lists are added to `memory`, an array of pointers that
 * it frees with g_free. Returns 0, or -1 with a CONFIG_ERROR_VALUE. */
int config_keys_fill(const struct config_source *source, void *target, GPtrArray *memory,
		     GError **error);

/* Stores a text as the value of a key, in the same way, without substitution. An error does not
 * name a file. */
int config_key_store(const struct config_key *key, const char *text, void *target,
		     GPtrArray *memory, GError **error);

#endif
