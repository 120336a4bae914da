/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading oslo's INI with inih. Debian's inih cuts lines at 200 bytes and takes " ;" for a comment,
 * which oslo does not: the reader below hands long lines over in pieces and hides that semicolon.
 */
#include "agent/config/ini.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/config/config.h"

/* Stands for a semicolon that inih would take for the start of a comment. */
#define HIDDEN_SEMICOLON '\x01'
#define MAX_FILE_LINES 200000
#define MAX_EXPANSIONS 16

struct config_store {
	GHashTable *values; /* "section\nname" -> struct config_value */
	GPtrArray *kept;
};

struct reading {
	struct config_store *store;
	const char *path;
	FILE *file;
	char *line; /* the line that is being handed over */
	size_t capacity;
	size_t at; /* what of it was handed over already */
	size_t length;
	int number;
	bool piece;	  /* what inih parses now continues a piece, not a line */
	bool oversized;	  /* a line has no place where it could be cut, or there are too many */
	GHashTable *seen; /* keys set in this file: their first value replaces an earlier file's */
	GArray *numbers;  /* int: the line of each piece, for inih counts pieces */
};

static void value_free(gpointer data)
{
	struct config_value *value = data;

	g_free(value->section);
	g_free(value->name);
	g_ptr_array_unref(value->texts);
	g_free(value->file);
	g_free(value);
}

struct config_store *config_store_new(void)
{
	struct config_store *store = g_new0(struct config_store, 1);

	store->values = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, value_free);
	store->kept = g_ptr_array_new_with_free_func(g_free);
	return store;
}

void config_store_free(struct config_store *store)
{
	if (!store)
		return;
	g_hash_table_unref(store->values);
	g_ptr_array_unref(store->kept);
	g_free(store);
}

/* Where a piece of at most `most` bytes may end: between two characters that no rule of inih trims
 * or takes for a comment. 0 when there is no such place. */
static size_t piece_end(const char *text, size_t most)
{
	for (size_t end = most; end > most / 2; end--) {
		if (!g_ascii_isspace(text[end - 1]) && !g_ascii_isspace(text[end]) &&
		    text[end] != '#' && text[end] != ';')
			return end;
	}
	return 0;
}

static bool next_line(struct reading *reading)
{
	ssize_t length = getline(&reading->line, &reading->capacity, reading->file);
	const char *first;

	if (length < 0)
		return false;
	reading->length = strcspn(reading->line, "\r\n");
	reading->line[reading->length] = '\0';
	reading->at = 0;
	if (++reading->number > MAX_FILE_LINES) {
		reading->oversized = true;
		return false;
	}
	first = reading->line + strspn(reading->line, " \t");
	if (*first == '#' || *first == ';') {
		reading->length = 0;
		return true;
	}
	for (char *c = reading->line + (first - reading->line); *c; c++) {
		if (*c == ';' && c > reading->line && g_ascii_isspace(c[-1]))
			*c = HIDDEN_SEMICOLON;
	}
	return true;
}

/* inih's fgets. A piece after the first begins with a blank, and so continues the value. */
static char *read_piece(char *buffer, int capacity, void *opaque)
{
	struct reading *reading = opaque;
	size_t most = (size_t)capacity - 3, length, start = 0;

	reading->piece = reading->at < reading->length;
	if (!reading->piece && !next_line(reading))
		return NULL;
	if (reading->piece)
		buffer[start++] = ' ';
	length = reading->length - reading->at;
	if (length > most) {
		length = piece_end(reading->line + reading->at, most);
		if (length == 0) {
			reading->oversized = true;
			return NULL;
		}
	}
	memcpy(buffer + start, reading->line + reading->at, length);
	reading->at += length;
	g_array_append_val(reading->numbers, reading->number);
	buffer[start + length] = '\n';
	buffer[start + length + 1] = '\0';
	return buffer;
}

static char *lookup_key(const char *section, const char *name)
{
	return g_strconcat(section, "\n", name, NULL);
}

/* A key seen again in one file is a further value of a multi-valued key; a piece belongs to the
 * value before it; a continuation line is joined to it with a newline, as oslo does. */
static int take_value(void *opaque, const char *section, const char *name, const char *text)
{
	struct reading *reading = opaque;
	g_autofree char *shown = g_strdup(text ? text : "");
	g_autofree char *key = NULL;
	struct config_value *value;
	bool continues;

	if (*section == '\0')
		section = "DEFAULT";
	key = lookup_key(section, name);
	g_strdelimit(shown, (const char[]){HIDDEN_SEMICOLON, '\0'}, ';');
	value = g_hash_table_lookup(reading->store->values, key);
	if (!value) {
		value = g_new0(struct config_value, 1);
		value->section = g_strdup(section);
		value->name = g_strdup(name);
		value->texts = g_ptr_array_new_with_free_func(g_free);
		g_hash_table_insert(reading->store->values, g_strdup(key), value);
	}
	continues = reading->piece || g_ascii_isspace(reading->line[0]);
	if (continues && value->texts->len > 0) {
		char **last = (char **)&value->texts->pdata[value->texts->len - 1];
		g_autofree char *before = *last;

		*last = g_strconcat(before, reading->piece ? "" : "\n", shown, NULL);
		return 1;
	}
	if (g_hash_table_add(reading->seen, g_strdup(key)))
		g_ptr_array_set_size(value->texts, 0);
	g_ptr_array_add(value->texts, g_steal_pointer(&shown));
	g_free(value->file);
	value->file = g_strdup(reading->path);
	value->line = reading->number;
	return 1;
}

int config_store_read(struct config_store *store, const char *path, GError **error)
{
	struct reading reading = {.store = store, .path = path};
	int rc;

	reading.file = fopen(path, "re");
	if (!reading.file) {
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_FILE,
			    "cannot read the configuration file %s: %s", path, g_strerror(errno));
		return -1;
	}
	reading.seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	reading.numbers = g_array_new(FALSE, FALSE, sizeof(int));
	rc = ini_parse_stream(read_piece, &reading, take_value, &reading);
	if (ferror(reading.file))
		rc = -1;
	else if (rc > 0 && (guint)rc <= reading.numbers->len)
		rc = g_array_index(reading.numbers, int, rc - 1);
	g_hash_table_unref(reading.seen);
	g_array_unref(reading.numbers);
	(void)fclose(reading.file);
	free(reading.line);
	if (reading.oversized) {
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_FILE,
			    "%s:%d: the line or the file is too long", path, reading.number);
		return -1;
	}
	if (rc < 0) {
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_FILE,
			    "cannot read the configuration file %s: %s", path, g_strerror(errno));
		return -1;
	}
	if (rc > 0) {
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_FILE,
			    "%s:%d: neither a [section], nor key = value, nor a comment", path, rc);
		return -1;
	}
	return 0;
}

const struct config_value *config_store_get(const struct config_store *store, const char *section,
					    const char *name)
{
	g_autofree char *key = lookup_key(section, name);

	return g_hash_table_lookup(store->values, key);
}

void config_store_foreach(const struct config_store *store,
			  void (*each)(const struct config_value *value, void *opaque),
			  void *opaque)
{
	GHashTableIter iter;
	gpointer value;

	g_hash_table_iter_init(&iter, store->values);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		each(value, opaque);
}

const char *config_store_keep(struct config_store *store, char *text)
{
	g_ptr_array_add(store->kept, text);
	return text;
}

struct expansion {
	struct config_store *store;
	config_fallback_fn fallback;
	unsigned left; /* substitutions that may still be made: a cycle ends there */
};

static const char *named_text(struct expansion *expansion, const char *section, const char *name)
{
	const struct config_value *value = config_store_get(expansion->store, section, name);

	if (!value)
		value = config_store_get(expansion->store, "DEFAULT", name);
	if (value)
		return g_ptr_array_index(value->texts, value->texts->len - 1);
	return expansion->fallback ? expansion->fallback(section, name) : NULL;
}

static const char *expand(struct expansion *expansion, const char *section, const char *text,
			  const char **ret_unknown);

/* Reads the name behind a dollar sign and appends what it stands for. Returns where the text goes
 * on, NULL when the name stands for nothing. */
static const char *substitute(struct expansion *expansion, const char *section, const char *after,
			      GString *out, const char **ret_unknown)
{
	bool braced = *after == '{';
	const char *start = after + (braced ? 1 : 0);
	const char *end = start;
	g_autofree char *name = NULL;
	g_auto(GStrv) parts = NULL;
	const char *text, *group;

	while (g_ascii_isalnum(*end) || *end == '_' || (braced && *end == '.'))
		end++;
	if (end == start || (braced && *end != '}')) {
		g_string_append_c(out, '$');
		return after;
	}
	name = g_strndup(start, (gsize)(end - start));
	parts = g_strsplit(name, ".", 2);
	group = parts[1] ? parts[0] : section;
	text = named_text(expansion, group, parts[1] ? parts[1] : parts[0]);
	if (text && expansion->left > 0) {
		expansion->left--;
		text = expand(expansion, group, text, ret_unknown);
	} else {
		text = NULL;
	}
	if (!text) {
		if (!*ret_unknown)
			*ret_unknown = config_store_keep(expansion->store, g_steal_pointer(&name));
		return NULL;
	}
	g_string_append(out, text);
	return braced ? end + 1 : end;
}

static const char *expand(struct expansion *expansion, const char *section, const char *text,
			  const char **ret_unknown)
{
	g_autoptr(GString) out = g_string_new(NULL);

	while (*text) {
		if (text[0] == '$' && text[1] == '$') {
			g_string_append_c(out, '$');
			text += 2;
		} else if (text[0] == '$') {
			text = substitute(expansion, section, text + 1, out, ret_unknown);
			if (!text)
				return NULL;
		} else {
			g_string_append_c(out, *text++);
		}
	}
	return config_store_keep(expansion->store, g_strdup(out->str));
}

const char *config_store_expand(struct config_store *store, const char *section, const char *text,
				config_fallback_fn fallback, const char **ret_unknown)
{
	struct expansion expansion = {store, fallback, MAX_EXPANSIONS};

	*ret_unknown = NULL;
	return expand(&expansion, section, text, ret_unknown);
}
