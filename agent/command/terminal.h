/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What standard output is: a terminal with a size and colors, or something else, which gets plain
 * text of any width.
 */
#ifndef NOVASNAP_AGENT_COMMAND_TERMINAL_H
#define NOVASNAP_AGENT_COMMAND_TERMINAL_H

#include <glib.h>
#include <stdbool.h>

struct terminal {
	bool is_terminal;
	bool is_dumb;	  /* a terminal that has no cursor to move ($TERM) */
	bool has_colors;  /* a terminal, and $NO_COLOR is not set */
	unsigned columns; /* UINT_MAX if it is no terminal */
	unsigned rows;	  /* the same */
};

enum terminal_style {
	STYLE_PLAIN,
	STYLE_TITLE,
	STYLE_DIM,
	STYLE_GOOD,
	STYLE_WARNING,
	STYLE_BAD,
};

/* Looks at standard output. Call it again when the terminal's size has changed. */
void terminal_look(struct terminal *terminal);

/* Appends text in a style, cut to `*left` columns, which is then what is left of them. Control
 * characters are replaced by spaces. */
void terminal_add(const struct terminal *terminal, GString *into, unsigned *left,
		  enum terminal_style style, const char *format, ...) G_GNUC_PRINTF(5, 6);
/* The same without a format. */
void terminal_add_text(const struct terminal *terminal, GString *into, unsigned *left,
		       enum terminal_style style, const char *text);
/* How many columns a text takes. */
unsigned terminal_width(const char *text);

/* A bar of that width, such as "[####....]", which the caller frees. `share` is from 0 to 1. */
char *terminal_bar(double share, unsigned width);
/* "12 s", "3:05" or "2 h 05"; "9.5 MiB/s". The caller frees it. */
char *terminal_duration(double seconds);
char *terminal_rate(double bytes_per_second);

#endif
