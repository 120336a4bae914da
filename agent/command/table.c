/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See table.h.
 */
#include "agent/command/table.h"

#include <limits.h>
#include <string.h>

#define GAP 2
#define BAR_WIDTH 30
#define NO_BAR (-1.0)

struct cell {
	char *text;   /* NULL: a bar */
	double share; /* NO_BAR: no bar */
	enum terminal_style style;
};

struct table {
	const struct table_column *columns;
	size_t count;
	GArray *cells; /* struct cell, row by row */
};

static void cell_clear(void *opaque)
{
	g_free(((struct cell *)opaque)->text);
}

struct table *table_new(const struct table_column *columns, size_t count)
{
	struct table *table = g_new0(struct table, 1);

	table->columns = columns;
	table->count = count;
	table->cells = g_array_new(FALSE, FALSE, sizeof(struct cell));
	g_array_set_clear_func(table->cells, cell_clear);
	return table;
}

void table_add(struct table *table, enum terminal_style style, const char *text)
{
	struct cell cell = {g_strdup(text ? text : ""), NO_BAR, style};

	g_array_append_val(table->cells, cell);
}

void table_add_bar(struct table *table, enum terminal_style style, double share)
{
	struct cell cell = {share < 0 ? g_strdup("") : NULL, share, style};

	g_array_append_val(table->cells, cell);
}

static const struct cell *cell_at(const struct table *table, unsigned row, size_t column)
{
	return &g_array_index(table->cells, struct cell, row * table->count + column);
}

/* The width with which nothing of the column is cut. */
static unsigned ideal_width(const struct table *table, size_t column)
{
	unsigned width =
		MAX(table->columns[column].least, terminal_width(table->columns[column].title));

	for (unsigned row = 0; row < table->cells->len / table->count; row++) {
		const struct cell *cell = cell_at(table, row, column);

		width = MAX(width, cell->text ? terminal_width(cell->text) : BAR_WIDTH);
	}
	return width;
}

static unsigned sum_widths(const struct table *table, const unsigned *widths)
{
	unsigned sum = 0;

	for (size_t i = 0; i < table->count; i++)
		sum += widths[i] > 0 ? widths[i] + (sum > 0 ? GAP : 0) : 0;
	return sum;
}

/* Leaves the least important column out. False: only one is left. */
static bool drop_column(const struct table *table, unsigned *widths)
{
	size_t worst = table->count;
	size_t shown = 0;

	for (size_t i = 0; i < table->count; i++) {
		if (widths[i] == 0)
			continue;
		shown++;
		if (worst == table->count || table->columns[i].rank > table->columns[worst].rank)
			worst = i;
	}
	if (shown > 1)
		widths[worst] = 0;
	return shown > 1;
}

/* Sets a width to 0 for each column that is left out. */
static void choose_widths(const struct table *table, unsigned available, unsigned *widths)
{
	for (size_t i = 0; i < table->count; i++)
		widths[i] = table->columns[i].least;
	while (sum_widths(table, widths) > available && drop_column(table, widths))
		;
	/* The most important columns grow first. */
	for (unsigned rank = 0; rank <= table->count; rank++) {
		for (size_t i = 0; i < table->count; i++) {
			unsigned sum = sum_widths(table, widths);
			unsigned more = sum < available ? available - sum : 0;
			unsigned wanted;

			if (widths[i] == 0 || table->columns[i].rank != rank)
				continue;
			wanted = ideal_width(table, i) - widths[i];
			if (table->columns[i].kind != TABLE_ID || wanted <= more)
				widths[i] += MIN(wanted, more);
		}
	}
}

static void print_cell(const struct terminal *terminal, enum table_kind kind, unsigned width,
		       const struct cell *cell, unsigned *left, GString *into)
{
	g_autofree char *bar = cell->text ? NULL : terminal_bar(cell->share, width);
	const char *text = cell->text ? cell->text : bar;
	unsigned own = MIN(width, *left);
	unsigned before = own;
	unsigned needed = MIN(terminal_width(text), own);

	if (kind == TABLE_RIGHT)
		g_string_append_printf(into, "%*s", (int)(own - needed), "");
	terminal_add_text(terminal, into, &own, cell->style, text);
	/* A wide character that did not fit has left a column. */
	own = before - needed;
	if (kind != TABLE_RIGHT)
		g_string_append_printf(into, "%*s", (int)own, "");
	*left -= before;
}

static void print_row(const struct table *table, const struct terminal *terminal,
		      const unsigned *widths, unsigned row, bool titles, GString *into)
{
	unsigned left = terminal->columns;
	bool first = true;
	g_autoptr(GString) line = g_string_new(NULL);

	for (size_t i = 0; i < table->count; i++) {
		const struct table_column *column = &table->columns[i];
		struct cell title = {(char *)column->title, NO_BAR, STYLE_TITLE};
		unsigned gap = first ? 0 : MIN(GAP, left);

		if (widths[i] == 0)
			continue;
		g_string_append_printf(line, "%*s", (int)gap, "");
		left -= gap;
		first = false;
		print_cell(terminal, column->kind, widths[i],
			   titles ? &title : cell_at(table, row, i), &left, line);
	}
	g_string_append_printf(into, "%s\n", g_strchomp(line->str));
}

void table_print(const struct table *table, const struct terminal *terminal, unsigned rows,
		 GString *into)
{
	g_autofree unsigned *widths = g_new0(unsigned, table->count);
	unsigned count = table->cells->len / (unsigned)table->count;

	choose_widths(table, terminal->columns, widths);
	print_row(table, terminal, widths, 0, true, into);
	for (unsigned row = 0; row < count && row < rows; row++)
		print_row(table, terminal, widths, row, false, into);
}

void table_free(struct table *table)
{
	if (!table)
		return;
	g_array_unref(table->cells);
	g_free(table);
}
