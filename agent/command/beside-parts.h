/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parts of `novasnap beside`. Each prints what it does, and one line if it fails, and returns
 * the exit status.
 */
#ifndef NOVASNAP_AGENT_COMMAND_BESIDE_PARTS_H
#define NOVASNAP_AGENT_COMMAND_BESIDE_PARTS_H

#include <stdbool.h>

#include "agent/config/config.h"

/* --enable, --disable: everything is done at the broker, and nova-compute has not been seen with
 * the wanted configuration yet. --disable also: novasnapd has requests that have not ended.
 * --status: not enabled. */
#define EXIT_PENDING 3

/* `wait_s`: how long nova-compute's restart is awaited, in seconds. */
int beside_enable(const struct config *config, unsigned wait_s);
int beside_disable(const struct config *config, unsigned wait_s);
int beside_status(const struct config *config, bool json);
int beside_guard(const struct config *config);

#endif
