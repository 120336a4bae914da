/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where g_log's messages go: standard error or a file, a line each with its time, or the system's
 * journal where standard error leads there.
 */
#ifndef NOVASNAP_AGENT_LOG_H
#define NOVASNAP_AGENT_LOG_H

#include <glib.h>
#include <stdbool.h>

/* `path` NULL: standard error. -1 when the file cannot be opened. Call it once, before threads
 * start. */
int log_open(const char *path, bool debug, GError **error);

#endif
