/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Beside a nova-compute, both may get the same cast: nova-compute takes what waits too long for
 * novasnapd, and everything while it runs with its old configuration. So the first effect of a
 * snapshot or backup is to claim it: the conductor saves its first task state only if it finds the
 * one that nova-api has set. Of two that try, only one succeeds. The other leaves the request
 * without an event, fault, notification or deletion.
 *
 * If the reply is lost or an error, the task state does not tell who has saved it. Then the events
 * of the request's action do: nova-compute starts its event before it saves, novasnapd after the
 * claim is in the journal.
 */
#ifndef NOVASNAP_AGENT_CLAIM_H
#define NOVASNAP_AGENT_CLAIM_H

#include "agent/task/task.h"

enum claim_result {
	CLAIM_OURS,   /* it is claimed, and the journal says so */
	CLAIM_TAKEN,  /* nova-compute has the request, or nobody wants it; an error is set */
	CLAIM_FAILED, /* another error is set */
};

/* Whether the task must be claimed before it does or reports anything: not in the mode exclusive,
 * without a conductor, for methods that are not claimed, or if this or an earlier process has
 * claimed it. */
bool claim_is_due(const struct task *task);

/* Claims the task. While the conductor does not answer, it is asked for a day, also if the job is
 * cancelled, but not once novasnapd is stopping. */
enum claim_result claim_take(struct task *task, GError **error);

#endif
