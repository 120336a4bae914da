/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rolls back the open steps in the journal.
 */
#ifndef NOVASNAP_AGENT_RECOVERY_ROLLBACK_H
#define NOVASNAP_AGENT_RECOVERY_ROLLBACK_H

#include "agent/task/agent.h"

/* Rolls back all open steps of a job, except results for Cinder (volume-result.h) and copies about
 * which the store must be asked (location.h), the newest first, and clears them in `left` and in
 * the journal. Tries `tries` times, three times as often while libvirt is away, two seconds apart,
 * until novasnapd stops. Returns 0, or -1 with the first error of the last try; the steps that
 * could not be rolled back stay open. */
int recovery_rollback(struct agent *agent, struct job *job, const struct journal_job *left,
		      unsigned tries, GError **error);

#endif
