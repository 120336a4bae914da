/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the parts of `novasnap beside` share.
 */
#ifndef NOVASNAP_AGENT_COMMAND_BESIDE_COMMON_H
#define NOVASNAP_AGENT_COMMAND_BESIDE_COMMON_H

#include <stdbool.h>

#include "agent/config/config.h"

/* How long another `novasnap beside` of this host is awaited. */
#define BESIDE_LOCK_S 30

/* Prints the error of a part in one line. Returns EXIT_FAILURE. */
int beside_fail(const GError *error);
/* A fault that a test injects (fault-point.h). Returns 0, or -1 with an error. */
int beside_check_fault(const char *step, const char *when, GError **error);
/* Deletes the queue, and the exchange unless it is kept, after novasnapd has stopped consuming: the
 * last step of --disable, or the undoing of --enable. The caller has the lock. Returns 0, or -1
 * with an RPC_ERROR or a G_FILE_ERROR. */
int beside_remove(const struct config *config, bool keep_exchange, GError **error);

#endif
