/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of novasnapd: accepts requests until a signal stops it, and waits for the running jobs.
 */
#ifndef NOVASNAP_AGENT_DAEMON_DAEMON_H
#define NOVASNAP_AGENT_DAEMON_DAEMON_H

#include "agent/config/config.h"

/* Serves until SIGTERM or SIGINT. `files`: those of the configuration, ended by NULL, which SIGHUP
 * reads again. Returns the exit status of the process. Does not return, but exits, if a job or a
 * thread does not end in time, because it uses the configuration. */
int daemon_run(const struct config *config, const char *const *files);

#endif
