/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The raw text of the configuration: what each key of each section was set to, and where. Knows how
 * oslo.config reads a file (continuation lines, $substitution, repeated keys), nothing of any key.
 */
#ifndef NOVASNAP_AGENT_CONFIG_STORE_H
#define NOVASNAP_AGENT_CONFIG_STORE_H

#include <glib.h>

struct config_store;

struct config_value {
	char *section;
	char *name;
	GPtrArray *texts; /* char *: one for each time the key was set, in the order of reading */
	char *file;	  /* where it was set last; NULL: nowhere, the default is meant */
	int line;
};

struct config_store *config_store_new(void);
void config_store_free(struct config_store *store);
typedef struct config_store config_store_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(config_store_t, config_store_free)

/* Reads a file over what was read before. Returns 0, or -1 with CONFIG_ERROR_FILE. */
int config_store_read(struct config_store *store, const char *path, GError **error);

/* NULL when the key was never set. */
const struct config_value *config_store_get(const struct config_store *store, const char *section,
					    const char *name);

/* Calls back for every value that was set, in no order. */
void config_store_foreach(const struct config_store *store,
			  void (*each)(const struct config_value *value, void *opaque),
			  void *opaque);

/* The text of a key that was not set, NULL where the key is not known. */
typedef const char *(*config_fallback_fn)(const char *section, const char *name);

/* Replaces $name, ${name} and ${group.name} as oslo.config does, from the same section, then from
 * [DEFAULT]; `fallback` answers for keys that were not set and may be NULL. `$$` is a dollar sign.
 * The result belongs to the store. NULL where a name is not known or refers to itself; *ret_unknown
 * is then that name, and belongs to the store. */
const char *config_store_expand(struct config_store *store, const char *section, const char *text,
				config_fallback_fn fallback, const char **ret_unknown);

/* Keeps a string as long as the store lives, and returns it. */
const char *config_store_keep(struct config_store *store, char *text);

#endif
