/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which configuration files are read: those of --config-file and --config-dir, and the default
 * ones, as oslo.config finds them for nova-compute (cfg.find_config_files, find_config_dirs and
 * ConfigOpts._parse_config_files).
 */
#ifndef NOVASNAP_AGENT_CONFIG_FILES_H
#define NOVASNAP_AGENT_CONFIG_FILES_H

#include <glib.h>

#include "agent/config/ini.h"

/* Adds the options --config-file and --config-dir to the context, before any other entries. They
 * append what is given to `paths`, an array of texts that it frees with g_free: a folder with a
 * slash at its end. */
void config_files_add_options(GOptionContext *options, GPtrArray *paths);

/*
 * Reads the files into `ini`, in this order, where later ones override earlier ones:
 * - if `paths` has no file: nova.conf and nova-compute.conf, each from the first of ~/.nova, ~,
 *   /etc/nova, /etc (and of $SNAP_COMMON/etc/nova, $SNAP/etc/nova) that has it;
 * - if it has no folder: the folders nova.conf.d and nova-compute.conf.d, found in the same way;
 * - if it has no file: /etc/novasnap/novasnap.conf; if no folder: /etc/novasnap/novasnap.conf.d;
 * - `paths`, NULL-terminated or NULL, in its order. One that ends with a slash is a folder.
 *
 * Of a folder all files *.conf are read, in the order of their names. The names of the files that
 * were read are appended to `ret_files`, an array that frees them with g_free. Returns 0, or -1
 * with CONFIG_ERROR_FILE, also if no file was found.
 */
int config_files_read(struct ini *ini, const char *const *paths, GPtrArray *ret_files,
		      GError **error);

#endif
