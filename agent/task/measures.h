/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What tasks count for the operators: requests, snapshots and uploads, as metrics (agent/metrics/).
 */
#ifndef NOVASNAP_AGENT_MEASURES_H
#define NOVASNAP_AGENT_MEASURES_H

#include "agent/metrics/registry.h"
#include "agent/task/task.h"

/* Adds the metrics to the registry, which must outlive the result. Their series begin with 0,
 * except those of requests (measures_add_method). */
struct measures *measures_new(struct metrics *metrics);
/* The requests of a method begin with 0. */
void measures_add_method(struct measures *measures, const struct task_method *method);
/* Accepts NULL. */
void measures_free(struct measures *measures);

/* All accept an agent without measures. Any thread. */

/* A job of an earlier process was taken up. */
void measures_recovered(const struct agent *agent, bool was_begun);
/* The task has ended, by this event, and its state is that of the end. */
void measures_task_ended(const struct task *task, enum task_event event);
/* Data has been sent, which the store may still refuse. */
void measures_sent(const struct task *task, uint64_t bytes);
/* The store has an image. `us`: for all attempts together. */
void measures_uploaded(const struct task *task, uint64_t bytes, gint64 us, unsigned attempts);

#endif
