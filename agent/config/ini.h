/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads configuration files by the rules of oslo.config (oslo_config/iniparser.py, and ConfigParser
 * in cfg.py):
 *
 * - A file is UTF-8. A line ends with LF, CR LF or CR. Whitespace at its end is removed.
 * - "[section]" begins a section. The same section may begin again. Its name is not case-sensitive,
 *   except for DEFAULT. Every key belongs to a section.
 * - "key = value" and "key: value" set a key; the first of the two signs counts. Whitespace around
 *   key and value is removed, then one pair of ' or " around the value.
 * - A line that begins with a space or a tab continues the value of the line above it. The parts of
 *   a value are joined by a newline. A blank line, a comment or a section ends the value.
 * - A line that begins with # or ; is a comment. Anywhere else both characters are ordinary.
 * - A key may be set several times, in one file or in several.
 *
 * Unlike oslo.config, this reader refuses NUL bytes and files of more than INI_FILE_MAX bytes.
 * Substitution and types are not its concern: see expand.h and table.h.
 */
#ifndef NOVASNAP_AGENT_CONFIG_INI_H
#define NOVASNAP_AGENT_CONFIG_INI_H

#include <glib.h>

#define INI_FILE_MAX ((size_t)4 * 1024 * 1024)

/* What has been read, of all files. */
struct ini;

/* One setting of one key. All strings belong to the struct ini. */
struct ini_setting {
	const char *section; /* in lower case, or DEFAULT */
	const char *name;
	const char *text; /* the value, before substitution */
	const char *path; /* the file, as the caller named it */
	unsigned line;	  /* where the key stands, from 1 */
	unsigned file;	  /* the number of the file in the order of reading, from 0 */
};

struct ini *ini_new(void);
void ini_free(struct ini *ini); /* NULL is allowed */

/* Reads a file and adds its settings to those of the files before it. Returns 0, or -1 with
 * CONFIG_ERROR_FILE; then the caller frees the struct ini, for part of the file may be in it. */
int ini_read(struct ini *ini, const char *path, GError **error);

/* All settings, in the order of reading. The array is valid until the next ini_read. */
const struct ini_setting *ini_settings(const struct ini *ini, unsigned *ret_count);

/* Removes what Python's str.strip() removes, in place, and returns where the rest begins. `text` is
 * UTF-8. */
char *ini_strip(char *text);

#endif
