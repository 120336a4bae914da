/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Converts texts to values.
 */
#include "agent/config/value.h"

#include <string.h>

#include "agent/config/ini.h"

#define HOST_MAX 253
#define HOST_LABEL_MAX 63
#define HOST_CHARACTERS "-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
bool config_value_is_blank(const char *text)
{
	g_autofree char *copy = g_strdup(text);

	return *ini_strip(copy) == '\0';
}

bool config_value_parse_bool(const char *text, bool *ret)
{
	static const char *const yes[] = {"true", "1", "on", "yes", NULL};
	static const char *const no[] = {"false", "0", "off", "no", NULL};
	g_autofree char *lower = g_ascii_strdown(text, -1);

	*ret = g_strv_contains(yes, lower);
	return *ret || g_strv_contains(no, lower);
}

bool config_value_parse_int64(const char *text, int64_t *ret)
{
	g_autofree char *copy = g_strdup(text);
	const char *at = ini_strip(copy);
	bool negative = *at == '-';
	int64_t number = 0;
	bool digit = false; /* the previous character is a digit */

	if (negative || *at == '+')
		at++;
	for (; *at; at++) {
		if (*at == '_' && digit) {
			digit = false;
			continue;
		}
		digit = g_ascii_isdigit(*at);
		if (!digit)
			return false;
		if (number > (INT64_MAX - 9) / 10)
			return false;
		number = number * 10 + g_ascii_digit_value(*at);
	}
	*ret = negative ? -number : number;
	return digit;
}

bool config_value_parse_uint(const char *text, unsigned min, unsigned max, unsigned *ret)
{
	int64_t number;

	if (!config_value_parse_int64(text, &number) || number < min || number > max)
		return false;
	*ret = (unsigned)number;
	return true;
}

static bool is_host_label(const char *label)
{
	size_t length = strlen(label);

	return length > 0 && length <= HOST_LABEL_MAX && label[0] != '-' &&
	       label[length - 1] != '-' && strspn(label, HOST_CHARACTERS) == length;
}

void config_value_trim_host(char *text)
{
	size_t length = strlen(text);
	g_autofree char *name = NULL;
	g_auto(GStrv) labels = NULL;

	if (length == 0 || length > HOST_MAX || text[length - 1] != '.')
		return;
	name = g_strndup(text, length - 1);
	labels = g_strsplit(name, ".", -1);
	for (char **label = labels; *label; label++) {
		if (!is_host_label(*label))
			return;
	}
	text[length - 1] = '\0';
}

char **config_value_parse_list(const char *text)
{
	char **items = g_strsplit(text, ",", -1);
	char **end = items;

	for (char **item = items; *item; item++) {
		g_autofree char *part = *item;
		const char *stripped = ini_strip(part);

		if (*stripped)
			*end++ = g_strdup(stripped);
	}
	*end = NULL;
	return items;
}
