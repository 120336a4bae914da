/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The description of a key, and its effective setting. Types and names have the same meaning as in
 * oslo.config (oslo_config/types.py; _Namespace._get_file_value in cfg.py), with these exceptions:
 * - An empty CONFIG_STRING, CONFIG_PATH, CONFIG_CHOICE, CONFIG_SWITCH, CONFIG_UINT or CONFIG_INT64
 *   counts as not set, and so does an empty CONFIG_BOOL that has no default.
 * - A list has no empty items, and other keys cannot refer to it.
 */
#ifndef NOVASNAP_AGENT_CONFIG_KEY_H
#define NOVASNAP_AGENT_CONFIG_KEY_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent/config/ini.h"

enum config_type {
	CONFIG_BOOL,   /* bool: true, yes, on, 1, or false, no, off, 0, in any case */
	CONFIG_UINT,   /* unsigned, from `min` to `max` */
	CONFIG_INT64,  /* int64_t: any whole number */
	CONFIG_STRING, /* const char *, or NULL */
	CONFIG_TEXT,   /* const char *, or NULL; may be empty */
	CONFIG_PATH,   /* const char *, or NULL: an absolute path */
	CONFIG_HOST,   /* const char *, or NULL: a host name, without the dot at its end */
	CONFIG_LIST,   /* const char *const *, NULL-terminated: items separated by commas */
	CONFIG_MULTI,  /* const char *const *, NULL-terminated: one item for each setting */
	CONFIG_CHOICE, /* const char *, or NULL: one of `choices` */
	CONFIG_SWITCH, /* bool: one of the two `choices`, true for the second */
};

struct config_key {
	const char *section;
	const char *name;
	enum config_type type;
	size_t offset;		    /* of the value in the target struct, in bytes */
	const char *default_text;   /* the default, in the syntax of a file; NULL: none */
	unsigned min, max;	    /* of a CONFIG_UINT */
	const char *unit;	    /* of a CONFIG_UINT: "seconds", "MiB"...; NULL: none */
	const char *const *choices; /* NULL-terminated */
	const char *pattern; /* of a CONFIG_STRING: a regular expression that it must match */
	/* Previous names of the key, which files may still use: "name" in the same section, or
	 * "section.name". */
	const char *old_names[2];
	bool secret;  /* no part of the value may appear in a message */
	bool mutable; /* it can change while novasnapd runs, as oslo.config's mutable options */
};

/* A table of keys, and the settings that were read. */
struct config_source {
	const struct config_key *keys;
	size_t key_count;
	const struct ini *ini;
};

/* Returns 0 if section and name are the key's own, 1 or more for its old names, -1 for other
 * names. */
int config_key_rank(const struct config_key *key, const char *section, const char *name);

/* The key with this name; old names are not considered. NULL: none. */
const struct config_key *config_key_find(const struct config_source *source, const char *section,
					 const char *name);

/* The effective setting: the last one in the last file that contains any; within that file, the
 * key's own name takes precedence over old names. NULL: the key is not set. */
const struct ini_setting *config_key_setting(const struct config_key *key, const struct ini *ini);

/* Whether a key with this text counts as not set. */
bool config_key_is_unset(const struct config_key *key, const char *text);

/* The text of the setting (which may be NULL), or else the default, before substitution. NULL: the
 * key has neither. */
const char *config_key_text(const struct config_key *key, const struct ini_setting *setting);

/* Sets CONFIG_ERROR_VALUE with the setting's file and line (unless it is NULL), the key, and the
 * problem with its value. Returns -1. */
int config_key_set_error(const struct config_key *key, const struct ini_setting *setting,
			 const char *problem, GError **error);

#endif
