/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Substitution in a value, as oslo.config does it (ConfigOpts._substitute and StrSubWrapper in
 * oslo_config/cfg.py, on Python's string.Template):
 *
 * - $name and ${name} stand for the value of another key: of the same section, or else of
 * [DEFAULT]. $group.name and ${group.name} name the section; [DEFAULT] cannot be named.
 * - A key of the table stands for its setting or its default, any other key for its setting.
 * - "$$" and "\$" stand for a dollar sign. One that no name follows stays as it is.
 */
#ifndef NOVASNAP_AGENT_CONFIG_SUBSTITUTION_H
#define NOVASNAP_AGENT_CONFIG_SUBSTITUTION_H

#include "agent/config/key.h"

/* `text`, which belongs to `key`, with its references replaced; the caller frees it. NULL with
 * CONFIG_ERROR_VALUE at `setting` (which may be NULL) where a reference cannot be replaced; the
 * message names the reference, unless the key is secret: it may be part of a password. */
char *config_substitute(const struct config_source *source, const struct config_key *key,
			const struct ini_setting *setting, const char *text, GError **error);

#endif
