/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an earlier process left: its open jobs are taken up at the start, and steps of ended jobs
 * that could not be rolled back are tried again every few seconds.
 */
#ifndef NOVASNAP_AGENT_LEFTOVERS_H
#define NOVASNAP_AGENT_LEFTOVERS_H

#include "agent/task/agent.h"

struct leftovers;

/* Submits a job for each that the journal has open, and starts the thread that looks for open steps
 * of ended jobs. NULL with an error; then jobs may run even so. */
struct leftovers *leftovers_start(struct agent *agent, GError **error);
/* Ends the thread; the jobs that it submitted go on. Takes NULL; may be called again. */
void leftovers_stop(struct leftovers *all);
/* After the last job has ended. Takes NULL. */
void leftovers_free(struct leftovers *all);

#endif
