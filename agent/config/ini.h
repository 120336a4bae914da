/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads configuration files according to the rules of oslo.config (oslo_config/iniparser.py, and
 * ConfigParser in cfg.py):
 * - A file is UTF-8. A line ends with LF, CR LF or CR. Whitespace at the end of a line is removed.
 * - "[section]" begins a section. The same section may begin again. Section names are not
 *   case-sensitive, except for DEFAULT. Every key belongs to a section.
 * - "key = value" and "key: value" set a key; the first of the two signs is the separator.
 *   Whitespace around key and value is removed, then one pair of ' or " around the value.
 * - A line that begins with a space or a tab continues the value of the line above it. The parts of
 *   a value are joined by a newline. A blank line, a comment or a section ends the value.
 * - A line that begins with # or ; is a comment. Elsewhere, both are ordinary characters.
 * - A key may be set several times, in one file or in several.
 *
 * Unlike oslo.config, this reader rejects NUL bytes and files of more than INI_FILE_MAX bytes.
 * Substitution and types are handled elsewhere: see substitution.h and table.h.
 */
#ifndef NOVASNAP_AGENT_CONFIG_INI_H
#define NOVASNAP_AGENT_CONFIG_INI_H

#include <glib.h>

#define INI_FILE_MAX ((size_t)4 * 1024 * 1024)

/* The settings of all files read so far. */
struct ini;

/* One setting of one key. The struct ini owns all strings. */
struct ini_setting {
	const char *section; /* lower case, or DEFAULT */
	const char *name;
	const char *text; /* the value, before substitution */
	const char *path; /* the file, as the caller named it */
	unsigned line;	  /* line number of the key, from 1 */
	unsigned file;	  /* index of the file in the order of reading, from 0 */
};

struct ini *ini_new(void);
void ini_free(struct ini *ini); /* accepts NULL */

/* Reads a file and adds its settings to those of the files before it. Returns 0, or -1 with
 * CONFIG_ERROR_FILE; the caller must then free the struct ini, which may contain a part of the
 * file. */
int ini_read(struct ini *ini, const char *path, GError **error);

/* All settings, in the order of reading. The array is valid until the next ini_read. */
const struct ini_setting *ini_settings(const struct ini *ini, unsigned *ret_count);

/* Strips the text as Python's str.strip() does, in place, and returns the start of the rest. `text`
 * is UTF-8. */
char *ini_strip(char *text);

#endif
