/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Substitution of $name in values.
 */
#include "agent/config/substitution.h"

#include <string.h>

#include "agent/config/value.h"

/* The limits of the nesting of references and of the bytes of all texts of one value. They also end
 * the substitution of a key that refers to itself. */
#define DEPTH_MAX 32
#define BYTES_MAX ((size_t)8 * 1024 * 1024)

struct substitution {
	const struct config_source *source;
	unsigned depth;
	size_t bytes;
	char *failed;	     /* the reference that could not be replaced */
	const char *problem; /* the reason */
};

static bool append_substituted(struct substitution *substitution, const char *section,
			       const char *text, GString *out);

/* The last setting of a key that is not in the table, such as nova's my_ip. */
static const char *unknown_key_text(const struct ini *ini, const char *section, const char *name)
{
	unsigned count;
	const struct ini_setting *settings = ini_settings(ini, &count);

	while (count-- > 0) {
		if (g_str_equal(settings[count].name, name) &&
		    g_str_equal(settings[count].section, section))
			return settings[count].text;
	}
	return NULL;
}

/* Finds a key by name, in the first of two sections that contains it. Keys of the table take
 * precedence, since oslo.config knows no others. Returns its text before substitution,
 * *ret_section, and *ret_key (NULL: not in the table); NULL if there is no such key. */
static const char *find_text(const struct config_source *source, const char *const sections[2],
			     const char *name, const char **ret_section,
			     const struct config_key **ret_key)
{
	const char *text = NULL;

	*ret_key = NULL;
	for (int i = 0; i < 2 && sections[i] && !*ret_key; i++) {
		*ret_key = config_key_find(source, sections[i], name);
		*ret_section = sections[i];
	}
	if (*ret_key) {
		text = config_key_text(*ret_key, config_key_setting(*ret_key, source->ini));
		return text ? text : "";
	}
	for (int i = 0; i < 2 && sections[i] && !text; i++) {
		text = unknown_key_text(source->ini, sections[i], name);
		*ret_section = sections[i];
	}
	return text;
}

/* oslo.config converts the other key's value, and Python then prints it. */
static void append_value(const struct config_key *key, const char *text, GString *out)
{
	int64_t number;
	bool flag;

	if (key && key->type == CONFIG_BOOL && config_value_parse_bool(text, &flag))
		g_string_append(out, flag ? "True" : "False");
	else if (key && (key->type == CONFIG_UINT || key->type == CONFIG_INT64) &&
		 config_value_parse_int64(text, &number))
		g_string_append_printf(out, "%" G_GINT64_FORMAT, number);
	else
		g_string_append(out, text);
}

/* Appends the value of `reference`, which occurs in a value of `section`. */
static bool append_reference(struct substitution *substitution, const char *section,
			     const char *reference, GString *out)
{
	g_auto(GStrv) parts = g_strsplit(reference, ".", 2);
	const char *sections[2] = {parts[1] ? parts[0] : section, parts[1] ? NULL : "DEFAULT"};
	g_autoptr(GString) value = g_string_new(NULL);
	const struct config_key *key;
	const char *text = NULL;

	/* oslo.config has no group named DEFAULT. */
	if (!parts[1] || !g_str_equal(parts[0], "DEFAULT"))
		text = find_text(substitution->source, sections, parts[1] ? parts[1] : reference,
				 &section, &key);
	if (!text)
		substitution->problem = "which is not set";
	else if (key && (key->type == CONFIG_LIST || key->type == CONFIG_MULTI))
		substitution->problem = "which is a list";
	else if (append_substituted(substitution, section, text, value)) {
		append_value(key, value->str, out);
		return true;
	}
	if (!substitution->failed)
		substitution->failed = g_strdup(reference);
	return false;
}

static const char *skip_reference(const char *at)
{
	if (!g_ascii_isalpha(*at) && *at != '_')
		return at;
	while (g_ascii_isalnum(*at) || *at == '_' || *at == '.')
		at++;
	return at;
}

/* Appends the replacement for the dollar sign at `at`. Returns where the text continues; NULL if a
 * reference cannot be replaced. */
static const char *append_dollar(struct substitution *substitution, const char *section,
				 const char *at, GString *out)
{
	bool braced = at[1] == '{';
	const char *start = at + (braced ? 2 : 1);
	const char *end = skip_reference(start);
	g_autofree char *reference = g_strndup(start, (gsize)(end - start));

	if (end == start || (braced && *end != '}')) {
		g_string_append_c(out, '$');
		return at + (at[1] == '$' ? 2 : 1);
	}
	if (!append_reference(substitution, section, reference, out))
		return NULL;
	return end + (braced ? 1 : 0);
}

static bool append_substituted(struct substitution *substitution, const char *section,
			       const char *text, GString *out)
{
	g_autoptr(GString) escaped = g_string_new(text);
	const char *at;

	substitution->bytes += escaped->len + 1;
	if (substitution->depth == DEPTH_MAX || substitution->bytes > BYTES_MAX) {
		substitution->problem = "which refers to itself, or is too long";
		return false;
	}
	/* First, as in oslo.config: the result may form a pair with an adjacent dollar sign. */
	g_string_replace(escaped, "\\$", "$$", 0);
	substitution->depth++;
	for (at = escaped->str; at && *at;) {
		size_t plain = strcspn(at, "$");

		g_string_append_len(out, at, (gssize)plain);
		at += plain;
		if (*at)
			at = append_dollar(substitution, section, at, out);
	}
	substitution->depth--;
	return at != NULL;
}

char *config_substitute(const struct config_source *source, const struct config_key *key,
			const struct ini_setting *setting, const char *text, GError **error)
{
	struct substitution substitution = {.source = source};
	g_autoptr(GString) value = g_string_new(NULL);
	g_autofree char *problem = NULL;

	if (append_substituted(&substitution, key->section, text, value))
		return g_strdup(value->str);
	problem = g_strdup_printf("refers to %s%s, %s (write $$ for a dollar sign)",
				  key->secret ? "another key with a dollar sign" : "$",
				  key->secret ? "" : substitution.failed, substitution.problem);
	g_free(substitution.failed);
	(void)config_key_set_error(key, setting, problem, error);
	return NULL;
}
