/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where g_log's messages go: to standard error or a file, one line each with its time; or to the
 * systemd journal where standard error is connected to it.
 */
#ifndef NOVASNAP_AGENT_LOG_H
#define NOVASNAP_AGENT_LOG_H

#include <glib.h>
#include <stdbool.h>

/* Call it once, before threads start. `path` NULL: standard error. `debug`: messages of level info
 * and debug too. Returns 0, or -1 with an error where the file cannot be opened. */
int log_open(const char *path, bool debug, GError **error);

#endif
