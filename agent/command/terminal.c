/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See terminal.h.
 */
#include "agent/command/terminal.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MEBI (1024.0 * 1024.0)
#define DEFAULT_COLUMNS 80
#define DEFAULT_ROWS 24
#define DAYS_99 (99.0 * 24 * 3600)

static const char *const escapes[] = {
	[STYLE_PLAIN] = "",	   [STYLE_TITLE] = "\033[1m",	 [STYLE_DIM] = "\033[2m",
	[STYLE_GOOD] = "\033[32m", [STYLE_WARNING] = "\033[33m", [STYLE_BAD] = "\033[31m",
};

static bool is_set(const char *variable)
{
	const char *value = g_getenv(variable);

	return value && *value;
}

void terminal_look(struct terminal *terminal)
{
	struct winsize size = {0};

	*terminal = (struct terminal){.columns = UINT_MAX, .rows = UINT_MAX};
	if (!isatty(STDOUT_FILENO))
		return;
	(void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	terminal->is_terminal = true;
	terminal->is_dumb = !is_set("TERM") || g_str_equal(g_getenv("TERM"), "dumb");
	terminal->has_colors = !terminal->is_dumb && !is_set("NO_COLOR");
	/* A serial line does not know its size. */
	terminal->columns = size.ws_col > 0 ? size.ws_col : DEFAULT_COLUMNS;
	terminal->rows = size.ws_row > 0 ? size.ws_row : DEFAULT_ROWS;
}

static unsigned character_width(gunichar c)
{
	if (g_unichar_iszerowidth(c))
		return 0;
	return g_unichar_iswide(c) ? 2 : 1;
}

unsigned terminal_width(const char *text)
{
	g_autofree char *valid = g_utf8_make_valid(text, -1);
	unsigned width = 0;

	for (const char *at = valid; *at; at = g_utf8_next_char(at))
		width += character_width(g_utf8_get_char(at));
	return width;
}

void terminal_add_text(const struct terminal *terminal, GString *into, unsigned *left,
		       enum terminal_style style, const char *text)
{
	g_autofree char *valid = g_utf8_make_valid(text, -1);
	bool styled = terminal->has_colors && style != STYLE_PLAIN && *left > 0 && *valid;

	if (styled)
		g_string_append(into, escapes[style]);
	for (const char *at = valid; *at; at = g_utf8_next_char(at)) {
		gunichar c = g_utf8_get_char(at);

		if (g_unichar_iscntrl(c))
			c = ' ';
		if (character_width(c) > *left) {
			*left = 0;
			break;
		}
		*left -= character_width(c);
		g_string_append_unichar(into, c);
	}
	if (styled)
		g_string_append(into, "\033[0m");
}

void terminal_add(const struct terminal *terminal, GString *into, unsigned *left,
		  enum terminal_style style, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list arguments;

	va_start(arguments, format);
	text = g_strdup_vprintf(format, arguments);
	va_end(arguments);
	terminal_add_text(terminal, into, left, style, text);
}

char *terminal_bar(double share, unsigned width)
{
	unsigned inner = width > 2 ? width - 2 : 0;
	unsigned filled = (unsigned)(CLAMP(share, 0, 1) * inner);
	g_autoptr(GString) bar = g_string_new("[");

	for (unsigned i = 0; i < inner; i++)
		g_string_append_c(bar, i < filled ? '#' : '.');
	g_string_append_c(bar, ']');
	return g_string_free(g_steal_pointer(&bar), FALSE);
}

char *terminal_duration(double seconds)
{
	unsigned whole = (unsigned)ceil(CLAMP(seconds, 0, DAYS_99));

	if (whole < 60)
		return g_strdup_printf("%u s", whole);
	if (whole < 3600)
		return g_strdup_printf("%u:%02u", whole / 60, whole % 60);
	return g_strdup_printf("%u h %02u", whole / 3600, whole % 3600 / 60);
}

char *terminal_rate(double bytes_per_second)
{
	double rate = bytes_per_second / MEBI;

	return g_strdup_printf(rate < 10 ? "%.1f MiB/s" : "%.0f MiB/s", rate);
}
