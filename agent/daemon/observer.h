/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The metrics of novasnapd, and how they are given out.
 */
#ifndef NOVASNAP_AGENT_OBSERVER_H
#define NOVASNAP_AGENT_OBSERVER_H

#include "agent/daemon/manager.h"

struct observer;

/* Makes the metrics, which the tasks count from now on. Call it before manager_start. NULL: neither
 * metrics_file nor metrics_listen is set. `config` must outlive it. */
struct observer *observer_new(const struct config *config, struct manager *manager);
/* Begins to give them out. Call it after manager_start. Accepts NULL. Returns 0, or -1 with
 * METRICS_ERROR. */
int observer_start(struct observer *observer, GError **error);
/* Gives nothing out any more. Call it before manager_stop. Returns false if its thread hangs: then
 * neither the manager nor the observer may be freed. Accepts NULL. */
bool observer_stop(struct observer *observer);
/* Call it after manager_stop has returned 0. Accepts NULL. */
void observer_free(struct observer *observer);

#endif
