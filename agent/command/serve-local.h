/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Executes a cast in this process, without a broker and without a conductor.
 */
#ifndef NOVASNAP_AGENT_COMMAND_SERVE_LOCAL_H
#define NOVASNAP_AGENT_COMMAND_SERVE_LOCAL_H

#include <cjson/cJSON.h>

#include "agent/config/config.h"

/* Executes the cast (taking ownership) and shows its progress on standard output, as
 * `novasnap watch` does. Returns the exit
 * status: 0 after success, 1 after failure, 130 after SIGINT or SIGTERM, when the snapshot has been
 * cancelled and rolled back; or -1 with an error if it could not be started. */
int serve_locally(const struct config *config, cJSON *cast, bool json, GError **error);

#endif
