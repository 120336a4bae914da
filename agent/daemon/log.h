/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The destination of g_log's messages: standard error or a file, one line each with its time; or
 * the systemd journal.
 */
#ifndef NOVASNAP_AGENT_LOG_H
#define NOVASNAP_AGENT_LOG_H

#include "agent/config/config.h"

/* Call it once, before threads start. The log goes where log_format and log_file say: `auto` is the
 * file, or the journal if standard error is connected to it, or standard error. Returns 0, or -1
 * with an error if the file cannot be opened, or there is no journal. */
int log_open(const struct config *config, GError **error);
/* Opens the file of log_open again, because it may have been renamed (logrotate). Does nothing if
 * the log goes elsewhere. On failure, returns -1 with an error and keeps the old file. Any thread.
 */
int log_reopen(GError **error);
/* Includes messages of the levels info and debug, or not. Any thread. */
void log_set_debug(bool debug);

#endif
