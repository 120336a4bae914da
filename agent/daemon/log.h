/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The destination of g_log's messages: standard error or a file, one line each with its time; or
 * the systemd journal if standard error is connected to it.
 */
#ifndef NOVASNAP_AGENT_LOG_H
#define NOVASNAP_AGENT_LOG_H

#include <glib.h>
#include <stdbool.h>

/* Call it once, before threads start. `path` NULL: standard error. `debug`: include messages of the
 * levels info and debug. Returns 0, or -1 with an error if the file cannot be opened. */
int log_open(const char *path, bool debug, GError **error);

#endif
