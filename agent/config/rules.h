/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules that involve several keys.
 */
#ifndef NOVASNAP_AGENT_CONFIG_RULES_H
#define NOVASNAP_AGENT_CONFIG_RULES_H

#include "agent/config/table.h"

/* Sets the members of the configuration that depend on several keys, and checks keys against each
 * other. The table must have been loaded. Returns 0, or -1 with CONFIG_ERROR_VALUE. */
int config_rules_apply(struct config_inputs *inputs, GError **error);

#endif
