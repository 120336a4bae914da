/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fills a struct by a table of keys.
 */
#ifndef NOVASNAP_AGENT_CONFIG_FILL_H
#define NOVASNAP_AGENT_CONFIG_FILL_H

#include "agent/config/key.h"

/* Stores the value of each key of the table at its offset in `target`: the setting that counts, or
 * else the default, substituted and checked. Where a key has neither, `target` is left as it is,
 * except that a list is empty. The strings and lists are added to `memory`, an array of pointers
 * that frees them by g_free. Returns 0, or -1 with a CONFIG_ERROR_VALUE. */
int config_keys_fill(const struct config_source *source, void *target, GPtrArray *memory,
		     GError **error);

#endif
