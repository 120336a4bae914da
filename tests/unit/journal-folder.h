/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The folder in which a test opens a journal.
 */
#ifndef NOVASNAP_TESTS_UNIT_JOURNAL_FOLDER_H
#define NOVASNAP_TESTS_UNIT_JOURNAL_FOLDER_H

#include <glib/gstdio.h>

/* Removes a closed journal, and `dir` if nothing else is in it. */
static inline void journal_folder_remove(const char *dir)
{
	static const char *const names[] = {"journal/journal.db",
					    "journal/journal.db-wal",
					    "journal/journal.db-shm",
					    "journal/lock",
					    "journal",
					    ""};

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *path = g_build_filename(dir, names[i], NULL);

		(void)g_remove(path);
	}
}

#endif
