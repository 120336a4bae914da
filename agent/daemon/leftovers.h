/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The leftovers of earlier processes: open jobs are resumed at the start, and steps of ended jobs
 * that could not be rolled back are retried every few seconds. Old jobs are deleted from the
 * journal at the same time.
 */
#ifndef NOVASNAP_AGENT_LEFTOVERS_H
#define NOVASNAP_AGENT_LEFTOVERS_H

#include "agent/task/agent.h"

struct leftovers;

/* Submits a job for each open job in the journal, and starts the thread that searches for open
 * steps of ended jobs. NULL with an error; some jobs may be running nevertheless. */
struct leftovers *leftovers_start(struct agent *agent, GError **error);
/* Ends the thread; the jobs that it submitted continue. Accepts NULL; may be called again. */
void leftovers_stop(struct leftovers *all);
/* Call it after the last job has ended. Accepts NULL. */
void leftovers_free(struct leftovers *all);

#endif
