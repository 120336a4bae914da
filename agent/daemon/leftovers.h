/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The leftovers of earlier processes: open jobs are resumed at the start, exports that no job knows
 * are ended, and steps of ended jobs that could not be rolled back are retried. The pause between
 * two tries of a job doubles from 5 s to a minute, or to ten minutes if the guest does not need its
 * steps. Old jobs are deleted from the journal at the same time.
 */
#ifndef NOVASNAP_AGENT_LEFTOVERS_H
#define NOVASNAP_AGENT_LEFTOVERS_H

#include "agent/task/agent.h"

struct leftovers;

/* Submits a job for each open job in the journal, and starts the thread that ends exports and
 * searches for open steps of ended jobs. Does not wait for libvirt. NULL with an error; some jobs
 * may be running nevertheless. */
struct leftovers *leftovers_start(struct agent *agent, GError **error);
/* Ends the thread; the jobs that it submitted continue. Returns false if the thread did not end
 * within `limit_s` seconds, because the journal or libvirt hangs: then the leftovers must not be
 * freed. Accepts NULL; may be called again. */
bool leftovers_stop(struct leftovers *all, unsigned limit_s);
/* Call it after leftovers_stop has returned true and the last job has ended. Accepts NULL. */
void leftovers_free(struct leftovers *all);

#endif
