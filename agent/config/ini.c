/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads configuration files as oslo.config does.
 */
#include "agent/config/ini.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "agent/config/error.h"

struct ini {
	GArray *settings;      /* struct ini_setting */
	GStringChunk *strings; /* owns the settings' strings */
	unsigned files;
};

/* A file while it is read. */
struct ini_reader {
	struct ini *ini;
	const char *path;
	unsigned line;
	const char *section; /* NULL before the first section */
	const char *name;    /* key of the value that the next line may continue; NULL: none */
	unsigned name_line;
	GString *value;
};

struct ini *ini_new(void)
{
	struct ini *ini = g_new0(struct ini, 1);

	ini->settings = g_array_new(FALSE, FALSE, sizeof(struct ini_setting));
	ini->strings = g_string_chunk_new(4096);
	return ini;
}

void ini_free(struct ini *ini)
{
	if (!ini)
		return;
	g_array_unref(ini->settings);
	g_string_chunk_free(ini->strings);
	g_free(ini);
}

const struct ini_setting *ini_settings(const struct ini *ini, unsigned *ret_count)
{
	*ret_count = ini->settings->len;
	return (const struct ini_setting *)(const void *)ini->settings->data;
}

/* The characters that Python's str.isspace() accepts. */
static bool is_python_space(const char *at)
{
	gunichar c = g_utf8_get_char(at);

	return g_unichar_isspace(c) || c == '\v' || (c >= 0x1c && c <= 0x1f) || c == 0x85;
}

static char *strip_start(char *text)
{
	while (*text && is_python_space(text))
		text = g_utf8_next_char(text);
	return text;
}

static void strip_end(char *text)
{
	char *end = text + strlen(text);

	while (end > text && is_python_space(g_utf8_prev_char(end)))
		end = g_utf8_prev_char(end);
	*end = '\0';
}

char *ini_strip(char *text)
{
	strip_end(text);
	return strip_start(text);
}

/* Messages do not quote the line, because it may contain a password. */
static int set_line_error(const struct ini_reader *reader, const char *what, GError **error)
{
	g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_FILE, "%s:%u: %s", reader->path, reader->line,
		    what);
	return -1;
}

static void end_value(struct ini_reader *reader)
{
	GStringChunk *strings = reader->ini->strings;
	struct ini_setting setting = {.section = reader->section,
				      .name = reader->name,
				      .path = reader->path,
				      .line = reader->name_line,
				      .file = reader->ini->files};

	if (!reader->name)
		return;
	setting.text = g_string_chunk_insert(strings, reader->value->str);
	g_array_append_val(reader->ini->settings, setting);
	reader->name = NULL;
}

static int read_section(struct ini_reader *reader, char *line, GError **error)
{
	size_t length = strlen(line);

	if (line[length - 1] != ']')
		return set_line_error(reader, "a line that begins with [ must end with ]", error);
	if (length == 2)
		return set_line_error(reader, "the section has no name", error);
	line[length - 1] = '\0';
	line++;
	if (!g_str_equal(line, "DEFAULT")) {
		for (char *c = line; *c; c++)
			*c = g_ascii_tolower(*c);
	}
	reader->section = g_string_chunk_insert_const(reader->ini->strings, line);
	return 0;
}

static int read_key(struct ini_reader *reader, char *line, GError **error)
{
	char *sign = line + strcspn(line, "=:");
	char *value = sign + 1;
	size_t length;

	if (!*sign)
		return set_line_error(reader, "not a [section], key = value, or comment", error);
	if (!reader->section)
		return set_line_error(reader, "a key before the first [section]", error);
	*sign = '\0';
	line = ini_strip(line);
	if (!*line)
		return set_line_error(reader, "the key has no name", error);
	value = ini_strip(value);
	length = strlen(value);
	if ((*value == '"' || *value == '\'') && value[length - 1] == *value) {
		value[length - 1] = '\0';
		/* A single quotation mark is the opening and the closing one. */
		value += length > 1 ? 1 : 0;
	}
	reader->name = g_string_chunk_insert_const(reader->ini->strings, line);
	reader->name_line = reader->line;
	g_string_assign(reader->value, value);
	return 0;
}

static int read_line(struct ini_reader *reader, char *line, GError **error)
{
	strip_end(line);
	if (*line == ' ' || *line == '\t') {
		if (!reader->name)
			return set_line_error(reader,
					      "the line is indented, but there is no value above "
					      "it that it could continue",
					      error);
		g_string_append_c(reader->value, '\n');
		g_string_append(reader->value, strip_start(line));
		return 0;
	}
	end_value(reader);
	if (*line == '[')
		return read_section(reader, line, error);
	if (*line == '\0' || *line == '#' || *line == ';')
		return 0;
	return read_key(reader, line, error);
}

/* Terminates a line in place. Returns the start of the next line, NULL after the last one. */
static char *cut_line(char *line)
{
	char *end = line + strcspn(line, "\r\n");
	char *next = end + (end[0] == '\r' && end[1] == '\n' ? 2 : 1);

	if (!*end)
		return NULL;
	*end = '\0';
	return next;
}

static int set_file_error(const char *path, const char *problem, GError **error)
{
	g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_FILE,
		    "cannot read the configuration file %s: %s", path, problem);
	return -1;
}

static int read_bytes(const char *path, GString *text, GError **error)
{
	FILE *file = fopen(path, "re");
	char buffer[16384];
	size_t length;
	int problem;

	if (!file)
		return set_file_error(path, g_strerror(errno), error);
	while ((length = fread(buffer, 1, sizeof(buffer), file)) > 0 && text->len <= INI_FILE_MAX)
		g_string_append_len(text, buffer, (gssize)length);
	problem = ferror(file) ? errno : 0;
	(void)fclose(file);
	if (problem != 0)
		return set_file_error(path, g_strerror(problem), error);
	if (text->len > INI_FILE_MAX)
		return set_file_error(path, "it is larger than 4 MiB", error);
	return 0;
}

/* Reads a file, and checks that it is UTF-8 without NUL bytes. */
static int read_text(const char *path, GString *text, GError **error)
{
	const char *invalid;
	unsigned line = 1;

	if (read_bytes(path, text, error) < 0)
		return -1;
	if (g_utf8_validate_len(text->str, text->len, &invalid))
		return 0;
	for (const char *c = text->str; c < invalid; c++)
		line += *c == '\n' || (*c == '\r' && c[1] != '\n');
	g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_FILE, "%s:%u: the line is not UTF-8 text",
		    path, line);
	return -1;
}

int ini_read(struct ini *ini, const char *path, GError **error)
{
	g_autoptr(GString) text = g_string_new(NULL);
	g_autoptr(GString) value = g_string_new(NULL);
	struct ini_reader reader = {.ini = ini, .value = value};
	int rc = read_text(path, text, error);
	char *next;

	reader.path = g_string_chunk_insert(ini->strings, path);
	for (char *line = text->str; line && rc == 0; line = next) {
		next = cut_line(line);
		reader.line++;
		rc = read_line(&reader, line, error);
	}
	end_value(&reader);
	ini->files++;
	return rc;
}
