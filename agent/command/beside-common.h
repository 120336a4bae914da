/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the parts of `novasnap beside` share.
 */
#ifndef NOVASNAP_AGENT_COMMAND_BESIDE_COMMON_H
#define NOVASNAP_AGENT_COMMAND_BESIDE_COMMON_H

#include <stdbool.h>

#include "agent/config/config.h"

/* Prints the error of a part in one line. Returns EXIT_FAILURE. */
int beside_fail(const GError *error);
/* Runs a part with the lock of this host's handover, for which it waits for half a minute. Returns
 * its result, or -1 with an error: a name is too long, or another process keeps the lock. */
int beside_run_locked(const struct config *config,
		      int (*run)(const struct config *config, GError **error), GError **error);
/* A fault that a test injects (fault-point.h). Returns 0, or -1 with an error. */
int beside_check_fault(const char *step, const char *when, GError **error);
/* Deletes the queue, and the exchange unless it is kept, after novasnapd has stopped consuming: the
 * last step of --disable, or the undoing of --enable. The caller has the lock. Returns 0, or -1
 * with an RPC_ERROR or a G_FILE_ERROR. */
int beside_remove(const struct config *config, bool keep_exchange, GError **error);

#endif
