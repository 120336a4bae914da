/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state of novasnapd as metrics, read when they are asked for.
 */
#ifndef NOVASNAP_AGENT_GAUGES_H
#define NOVASNAP_AGENT_GAUGES_H

#include "agent/daemon/manager.h"
#include "agent/metrics/registry.h"

struct gauges;

/* Adds the metrics to the registry, which must outlive the result. */
struct gauges *gauges_new(struct metrics *metrics, const struct config *config);
/* Accepts NULL. */
void gauges_free(struct gauges *gauges);

/* Sets all of them. One thread at a time, between manager_start and manager_stop. */
void gauges_update(struct gauges *gauges, struct manager *manager);

#endif
