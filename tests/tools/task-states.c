/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Prints the tables of a task's states as Markdown. HACKING.md has them between the markers
 * "task-states", and tests/unit/test-task-state.c compares the two.
 */
#include <stdio.h>

#include "tests/unit/state-table.h"

int main(void)
{
	g_autofree char *text = state_table_markdown();

	(void)fputs(text, stdout);
	return 0;
}
