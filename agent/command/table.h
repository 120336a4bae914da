/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A table that fits the terminal: columns shrink to their smallest width, and the least important
 * ones are left out. Without a terminal each column is as wide as its widest cell.
 */
#ifndef NOVASNAP_AGENT_COMMAND_TABLE_H
#define NOVASNAP_AGENT_COMMAND_TABLE_H

#include "agent/command/terminal.h"

enum table_kind {
	TABLE_TEXT,  /* is cut */
	TABLE_RIGHT, /* the same, at the right edge */
	TABLE_ID,    /* a UUID: is shown as a whole, or its first `least` characters */
	TABLE_BAR,   /* a bar of any width */
};

struct table_column {
	const char *title;
	enum table_kind kind;
	unsigned least; /* its smallest width */
	unsigned rank;	/* columns with a higher one are left out first */
};

struct table;

/* `columns` must outlive the table. */
struct table *table_new(const struct table_column *columns, size_t count);
/* Adds the next cell. After the last column the next row begins. NULL: it is empty. */
void table_add(struct table *table, enum terminal_style style, const char *text);
/* The same with a bar; negative: it is empty. */
void table_add_bar(struct table *table, enum terminal_style style, double share);
/* Appends the titles and at most `rows` rows, each with a line break. */
void table_print(const struct table *table, const struct terminal *terminal, unsigned rows,
		 GString *into);
void table_free(struct table *table);
typedef struct table table_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(table_t, table_free)

#endif
