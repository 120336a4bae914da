/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Substitution in values, as in oslo.config (ConfigOpts._substitute and StrSubWrapper in
 * oslo_config/cfg.py, based on Python's string.Template):
 * - $name and ${name} are replaced by the value of another key: of the same section, or else of
 *   [DEFAULT]. $group.name and ${group.name} name the section, which cannot be [DEFAULT].
 * - A key of the table is replaced by its setting or its default, any other key by its setting.
 * - "$$" and "\$" are replaced by a dollar sign. A dollar sign that is not followed by a name is
 *   unchanged.
 */
#ifndef NOVASNAP_AGENT_CONFIG_SUBSTITUTION_H
#define NOVASNAP_AGENT_CONFIG_SUBSTITUTION_H

#include "agent/config/key.h"

/* Returns `text`, which belongs to `key`, with its references replaced; the caller frees it. If
 * a reference cannot be replaced, returns NULL with CONFIG_ERROR_VALUE at `setting` (which may
 * be NULL). The message names the reference, unless the key is secret: it may be part of a
 * password. */
char *config_substitute(const struct config_source *source, const struct config_key *key,
			const struct ini_setting *setting, const char *text, GError **error);

#endif
